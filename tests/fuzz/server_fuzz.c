/* The server engine under any bytes: byte 0 chooses options, byte 1 how the session answers, the
 * rest is what the client sends. It must not crash, its rules must hold, and the same bytes in
 * other pieces must give the same events and output. */
#include "../support/smtp_driver.h"

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void configure(struct driver *d, uint8_t flags)
{
    struct smtp_server_options *o = &d->options;
    o->bare_lf = flags & 1 ? SMTP_BARE_LF_NORMALISE : SMTP_BARE_LF_REJECT;
    o->starttls = (flags & 4) != 0;
    o->require_tls = (flags & 8) != 0;
    o->auth = flags & 16 ? "PLAIN LOGIN GSSAPI" : "";
    o->auth_tls = "PLAIN LOGIN SCRAM-SHA-256";
    o->chunking = (flags & 32) == 0;
    o->errors_max = 100;
    if (flags & 64) {
        o->message_size_max = 100;
        o->session_size_max = 250;
        o->recipients_max = 2;
        o->messages_max = 3;
        o->errors_max = 5;
        o->junk_max = 6;
        o->command_line_max = 600;
    }
}

static void choose_answers(struct driver *d, uint8_t seed)
{
    static const char *const choices[] = {"-", "-",
                                          "-", "550 5.7.1 Unable to relay",
                                          "-", "452 4.3.1 Insufficient system storage",
                                          "-", "421 4.3.2 Stopping"};
    static const char *const auth[] = {"-", "334 Username:", "535 5.7.3 no", "334 "};
    if (seed == 0)
        return;
    for (size_t type = 0; type < DRIVER_EVENT_TYPES; type++) {
        bool is_auth = type == SMTP_SERVER_AUTH || type == SMTP_SERVER_AUTH_RESPONSE;
        for (size_t i = 0; i < DRIVER_ANSWERS; i++) {
            size_t k = (seed * 31u + type * 7u + i * 13u + (i * seed) / 3) % 8;
            d->answers[type][i] = is_auth ? auth[k % 4] : choices[k];
        }
        d->answer_count[type] = type == SMTP_SERVER_CONNECT ? 0 : DRIVER_ANSWERS;
    }
}

/* Every line of the output is a line of a reply. */
static void check_output(struct span out)
{
    for (size_t i = 0; i < out.n;) {
        struct span line = span_from(out, i);
        size_t end = span_find(line, '\n');
        check(end < line.n && end >= 4 && line.p[end - 1] == '\r');
        check(line.p[0] >= '2' && line.p[0] <= '5' && (line.p[3] == ' ' || line.p[3] == '-'));
        for (size_t k = 0; k + 1 < end; k++)
            check(line.p[k] >= 32 && line.p[k] != 127);
        i += end + 1;
    }
}

/* Single bytes, scraps and whole lines in turn: a bug of the splits may need the change of sizes.
 */
static size_t piece(struct driver *d)
{
    static const size_t most[] = {1, 3, 30, 300};
    return 1 + (size_t)(driver_random(d) % most[driver_random(d) % 4]);
}

static void play(struct driver *d, struct span bytes, uint8_t flags, uint8_t seed, bool split)
{
    driver_init(d);
    configure(d, flags);
    choose_answers(d, seed);
    d->deferred = split && (flags & 128) != 0;
    d->random += (uint64_t)seed * 7919 + bytes.n;
    driver_start(d, (flags & 2) != 0);
    driver_pump(d, NULL);
    while (bytes.n > 0) {
        size_t n = split ? piece(d) : bytes.n;
        driver_feed(d, span_sub(bytes, 0, n));
        check(d->s.out.n == 0);
        check(d->s.held.cap <= SMTP_SERVER_INPUT_MAX);
        bytes = span_from(bytes, n);
    }
    check_output(buf_span(&d->output));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct driver whole, parts;
    if (size < 2 || size > 60000)
        return 0;
    play(&whole, span_of(data + 2, size - 2), data[0], data[1], false);
    play(&parts, span_of(data + 2, size - 2), data[0], data[1], true);
    check(span_equal(buf_span(&whole.output), buf_span(&parts.output)));
    check(span_equal(buf_span(&whole.events), buf_span(&parts.events)));
    driver_deinit(&whole);
    driver_deinit(&parts);
    return 0;
}
