#include "posix/kdc_exchange.h"

#include "base/host_port.h"
#include "platform/clock.h"

#include <string.h>
#include <unistd.h>

bool kdc_list_add(struct kdc_list *list, const char *text)
{
    struct span host;
    uint16_t port;
    if (list->count == DIAL_TARGETS_MAX || !host_port_parse(span_str(text), KDC_PORT, &host, &port))
        return false;
    struct dial_target *t = &list->targets[list->count];
    if (!span_cstr(host, t->host, sizeof t->host))
        return false;
    t->port = port;
    list->count++;
    return true;
}

/* RFC 4120 7.2.2: four bytes of length, then the message, both ways. */
static bool ask(int fd, struct span question, uint64_t deadline_ms, struct buf *reply,
                struct err *e)
{
    uint8_t head[4] = {(uint8_t)(question.n >> 24), (uint8_t)(question.n >> 16),
                       (uint8_t)(question.n >> 8), (uint8_t)question.n};
    struct buf out;
    buf_init(&out, KDC_REPLY_BYTES_MAX);
    bool ok = buf_add(&out, span_of(head, sizeof head)) && buf_add(&out, question);
    ok = ok ? dial_send(fd, buf_span(&out), deadline_ms, e)
            : err_set(e, ERR_TEMP, "no memory for a question");
    buf_deinit(&out);
    if (!ok || !dial_receive(fd, head, sizeof head, deadline_ms, e))
        return false;
    size_t n = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    if (n == 0 || n > KDC_REPLY_BYTES_MAX)
        return err_set(e, ERR_TEMP, "what answers there is no KDC");
    buf_reset(reply);
    uint8_t *room = buf_room(reply, n);
    if (room == NULL)
        return err_set(e, ERR_TEMP, "no memory for a reply");
    if (!dial_receive(fd, room, n, deadline_ms, e))
        return false;
    buf_grew(reply, n);
    return true;
}

bool kdc_exchange(struct dialer *d, const struct kdc_list *list, atomic_uint *first,
                  uint64_t deadline_ms, struct span question, kdc_pass_on *pass_on, void *context,
                  struct buf *reply, struct err *e)
{
    if (list->count == 0)
        return err_set(e, ERR_TEMP, "no KDC is known");
    unsigned start = atomic_load_explicit(first, memory_order_relaxed);
    for (size_t i = 0; i < list->count; i++) {
        size_t at = (start + i) % list->count;
        const struct dial_target *t = &list->targets[at];
        if (clock_monotonic_ms() >= deadline_ms)
            break;
        uint64_t until = dial_share(deadline_ms, list->count - i);
        int fd;
        if (!dial_tcp(d, t->host, t->port, until, &fd, e))
            continue;
        bool ok = ask(fd, question, until, reply, e);
        (void)close(fd);
        if (ok && !pass_on(context, buf_span(reply))) {
            atomic_store_explicit(first, (unsigned)at, memory_order_relaxed);
            return true;
        }
        if (ok)
            (void)err_set(e, ERR_TEMP, "says that it cannot answer now");
        (void)err_wrap(e, "%.100s:%u", t->host, (unsigned)t->port);
    }
    return e != NULL && e->class != ERR_NONE ? false
                                             : err_set(e, ERR_TEMP, "no time left to ask a KDC");
}
