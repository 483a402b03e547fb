#define _GNU_SOURCE /* pthread_condattr_setclock */
#include "posix/ntlm_helpers.h"

#include "base/base64.h"
#include "base/log.h"
#include "platform/clock.h"
#include "posix/ntlm_process.h"
#include "posix/ntlm_reply.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COMMAND_MAX = 4096, WORDS_MAX = 32 };

enum helper_state { HELPER_NONE, HELPER_IDLE, HELPER_BUSY, HELPER_HELD };

struct helper {
    enum helper_state state;
    struct ntlm_process process;
    struct ntlm_talk *talk; /* BUSY, HELD */
    uint64_t held_since_ms; /* HELD */
};

struct ntlm_helpers {
    bool spnego;
    char command[COMMAND_MAX];
    char *argv[WORDS_MAX + 1];
    bool command_ok;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t free;  /* a helper became IDLE, HELD or NONE */
    struct helper helpers[NTLM_HELPERS_MAX];
    unsigned failures; /* in a row */
    uint64_t start_not_before_ms;
};

struct ntlm_talk {
    struct ntlm_helpers *pool;
    struct helper *helper; /* under the pool's lock: another talk may take it away */
    bool begun;
    char domain[INTEGRATED_NAME_MAX], account[INTEGRATED_NAME_MAX];
};

static const char protocol_option[] = "--helper-protocol";

/* The words of the command, and which protocol we want. */
static bool read_command(struct ntlm_helpers *h, const char *command)
{
    static char ntlmssp[] = "--helper-protocol=squid-2.5-ntlmssp";
    static char gss_spnego[] = "--helper-protocol=gss-spnego";
    size_t argc = 0;
    if ((size_t)snprintf(h->command, sizeof h->command, "%s", command) >= sizeof h->command ||
        !ntlm_command_split(h->command, h->argv, WORDS_MAX, &argc) || h->argv[0][0] != '/')
        return false;
    for (size_t i = 1; i < argc; i++)
        if (strncmp(h->argv[i], protocol_option, sizeof protocol_option - 1) == 0)
            return false;
    h->argv[argc] = h->spnego ? gss_spnego : ntlmssp;
    h->argv[argc + 1] = NULL;
    return true;
}

struct ntlm_helpers *ntlm_helpers_new(const char *command, bool spnego)
{
    struct ntlm_helpers *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->spnego = spnego;
    h->command_ok = read_command(h, command);
    (void)pthread_mutex_init(&h->lock, NULL);
    pthread_condattr_t clock;
    (void)pthread_condattr_init(&clock);
    (void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&h->free, &clock);
    (void)pthread_condattr_destroy(&clock);
    return h;
}

void ntlm_helpers_free(struct ntlm_helpers **h)
{
    if (h == NULL || *h == NULL)
        return;
    for (size_t i = 0; i < NTLM_HELPERS_MAX; i++)
        ntlm_process_stop(&(*h)->helpers[i].process);
    (void)pthread_cond_destroy(&(*h)->free);
    (void)pthread_mutex_destroy(&(*h)->lock);
    free(*h);
    *h = NULL;
}

struct ntlm_talk *ntlm_talk_new(struct ntlm_helpers *h)
{
    struct ntlm_talk *t = calloc(1, sizeof *t);
    if (t != NULL)
        t->pool = h;
    return t;
}

void ntlm_talk_free(struct ntlm_talk **t)
{
    if (*t == NULL)
        return;
    struct ntlm_helpers *h = (*t)->pool;
    (void)pthread_mutex_lock(&h->lock);
    if ((*t)->helper != NULL) {
        (*t)->helper->state = HELPER_IDLE; /* the next YR begins anew */
        (*t)->helper->talk = NULL;
        (void)pthread_cond_signal(&h->free);
    }
    (void)pthread_mutex_unlock(&h->lock);
    free(*t);
    *t = NULL;
}

static void take(struct helper *x, struct ntlm_talk *t)
{
    if (x->talk != NULL) /* its client was too slow */
        x->talk->helper = NULL;
    x->state = HELPER_BUSY;
    x->talk = t;
    t->helper = x;
}

static void note_failure(struct ntlm_helpers *h, uint64_t now_ms)
{
    uint64_t wait_ms = NTLM_BACKOFF_MS;
    for (unsigned i = 0; i < h->failures && wait_ms < NTLM_BACKOFF_MAX_MS; i++)
        wait_ms *= 2;
    h->failures++;
    h->start_not_before_ms =
        now_ms + (wait_ms < NTLM_BACKOFF_MAX_MS ? wait_ms : NTLM_BACKOFF_MAX_MS);
}

static struct helper *find(struct ntlm_helpers *h, enum helper_state state)
{
    struct helper *found = NULL;
    for (size_t i = 0; i < NTLM_HELPERS_MAX; i++) {
        struct helper *x = &h->helpers[i];
        if (x->state == state &&
            (found == NULL || state != HELPER_HELD || x->held_since_ms < found->held_since_ms))
            found = x;
    }
    return found;
}

/* One attempt, under the lock. NULL: none now; *wait_ms: how long until it may be otherwise, 0:
 * do not wait. */
static struct helper *try_acquire(struct ntlm_helpers *h, uint64_t now_ms, uint64_t *wait_ms,
                                  struct err *e)
{
    struct helper *x;
    *wait_ms = 0;
    while ((x = find(h, HELPER_IDLE)) != NULL) {
        if (ntlm_process_alive(&x->process))
            return x;
        x->state = HELPER_NONE; /* it went while nobody looked */
    }
    bool may_start = now_ms >= h->start_not_before_ms;
    if (may_start && (x = find(h, HELPER_NONE)) != NULL) {
        if (ntlm_process_start(&x->process, h->argv, e))
            return x;
        note_failure(h, now_ms);
        return NULL;
    }
    if ((x = find(h, HELPER_HELD)) != NULL && now_ms >= x->held_since_ms + NTLM_HOLD_MS)
        return x;
    if (x == NULL && !may_start && find(h, HELPER_BUSY) == NULL) {
        err_set(e, ERR_TEMP, "ntlm_auth failed lately and is not started again yet");
        return NULL;
    }
    *wait_ms = x != NULL ? x->held_since_ms + NTLM_HOLD_MS - now_ms : NTLM_WAIT_MS;
    return NULL;
}

static bool acquire(struct ntlm_talk *t, struct err *e)
{
    struct ntlm_helpers *h = t->pool;
    uint64_t now_ms = clock_monotonic_ms(), until_ms = now_ms + NTLM_WAIT_MS, wait_ms;
    (void)pthread_mutex_lock(&h->lock);
    struct helper *x;
    while ((x = try_acquire(h, now_ms, &wait_ms, e)) == NULL && wait_ms > 0 && now_ms < until_ms) {
        uint64_t wake_ms = now_ms + wait_ms < until_ms ? now_ms + wait_ms : until_ms;
        struct timespec when = {.tv_sec = (time_t)(wake_ms / 1000),
                                .tv_nsec = (long)(wake_ms % 1000) * 1000000L};
        (void)pthread_cond_timedwait(&h->free, &h->lock, &when);
        now_ms = clock_monotonic_ms();
    }
    if (x != NULL)
        take(x, t);
    else if (wait_ms > 0)
        err_set(e, ERR_TEMP, "all %d ntlm_auth helpers are in use", NTLM_HELPERS_MAX);
    (void)pthread_mutex_unlock(&h->lock);
    return x != NULL;
}

/* For the second message: is the helper still ours? */
static bool resume(struct ntlm_talk *t)
{
    (void)pthread_mutex_lock(&t->pool->lock);
    bool ours = t->helper != NULL;
    if (ours)
        t->helper->state = HELPER_BUSY;
    (void)pthread_mutex_unlock(&t->pool->lock);
    return ours;
}

static void release(struct ntlm_talk *t, bool goes_on, bool failed)
{
    struct ntlm_helpers *h = t->pool;
    struct helper *x = t->helper;
    if (failed)
        ntlm_process_stop(&x->process); /* BUSY: nobody else looks at it */
    (void)pthread_mutex_lock(&h->lock);
    if (failed) {
        note_failure(h, clock_monotonic_ms());
        x->state = HELPER_NONE;
    } else {
        h->failures = 0;
        h->start_not_before_ms = 0;
        x->state = goes_on ? HELPER_HELD : HELPER_IDLE;
        x->held_since_ms = clock_monotonic_ms();
    }
    if (!goes_on || failed) {
        x->talk = NULL;
        t->helper = NULL;
    }
    (void)pthread_cond_signal(&h->free);
    (void)pthread_mutex_unlock(&h->lock);
}

static bool keep_names(struct ntlm_talk *t, const struct ntlm_reply *r)
{
    return span_cstr(r->domain, t->domain, sizeof t->domain) &&
           span_cstr(r->account, t->account, sizeof t->account);
}

static enum integrated_result result_of(struct ntlm_talk *t, const struct ntlm_reply *r,
                                        struct buf *out, char reason[INTEGRATED_REASON_MAX])
{
    (void)snprintf(reason, INTEGRATED_REASON_MAX, "NTLM: %.*s",
                   (int)(r->reason.n < 150 ? r->reason.n : 150), (const char *)r->reason.p);
    if (!base64_decode(r->token, out)) {
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "ntlm_auth: its token is no base64");
        return INTEGRATED_UNAVAILABLE;
    }
    switch (r->kind) {
    case NTLM_REPLY_CHALLENGE: return INTEGRATED_CONTINUE;
    case NTLM_REPLY_ACCEPTED:
        if (keep_names(t, r))
            return INTEGRATED_DONE;
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "NTLM: the account's name is too long");
        return INTEGRATED_REFUSED;
    case NTLM_REPLY_GUEST:
        (void)snprintf(reason, INTEGRATED_REASON_MAX, "NTLM: a guest or nobody");
        return INTEGRATED_GUEST;
    case NTLM_REPLY_REFUSED: return INTEGRATED_REFUSED;
    case NTLM_REPLY_MALFORMED: return INTEGRATED_MALFORMED;
    case NTLM_REPLY_NOBODY:
    case NTLM_REPLY_GARBAGE: break;
    }
    return INTEGRATED_UNAVAILABLE;
}

static enum integrated_result unavailable(const char *why, char reason[INTEGRATED_REASON_MAX])
{
    (void)snprintf(reason, INTEGRATED_REASON_MAX, "%.*s", INTEGRATED_REASON_MAX - 1, why);
    return INTEGRATED_UNAVAILABLE;
}

enum integrated_result ntlm_talk_step(struct ntlm_talk *t, struct span in, struct buf *out,
                                      char reason[INTEGRATED_REASON_MAX])
{
    struct err e = {0};
    struct buf line;
    struct ntlm_reply reply = {.kind = NTLM_REPLY_GARBAGE};
    bool first = !t->begun;
    if (!t->pool->command_ok)
        return unavailable("ntlm_auth: the command line is no command", reason);
    if (first && !acquire(t, &e))
        return unavailable(e.text, reason);
    if (!first && !resume(t))
        return unavailable("NTLM: the client was slow, and others waited for its helper", reason);
    t->begun = true;
    buf_init(&line, NTLM_LINE_MAX);
    bool answered =
        ntlm_process_ask(&t->helper->process, first ? "YR" : "KK", in, NTLM_STEP_MS, &line, &e);
    if (answered)
        reply = ntlm_reply_parse(buf_span(&line), t->pool->spnego);
    if (answered && reply.kind == NTLM_REPLY_GARBAGE)
        err_set(&e, ERR_TEMP,
                "ntlm_auth speaks another protocol (smb.conf's winbind separator must be a "
                "backslash)");
    enum integrated_result result = INTEGRATED_UNAVAILABLE;
    if (reply.kind == NTLM_REPLY_GARBAGE) {
        log_event(LOG_WARN, "auth.ntlm_auth.failed", LOG_S("program", t->pool->argv[0]),
                  LOG_S("reason", e.text));
        result = unavailable(e.text, reason);
    } else {
        result = result_of(t, &reply, out, reason);
    }
    release(t, result == INTEGRATED_CONTINUE, reply.kind == NTLM_REPLY_GARBAGE);
    buf_deinit(&line);
    return result;
}

const char *ntlm_talk_domain(const struct ntlm_talk *t)
{
    return t->domain;
}

const char *ntlm_talk_account(const struct ntlm_talk *t)
{
    return t->account;
}

/* MS-NLMP section 2.2.1: the first message of somebody, and the last one of nobody (no name, no
 * proof). winbindd refuses that by itself; what counts is that it can be asked at all. */
static const uint8_t first_message[] = {'N', 'T', 'L',  'M',  'S',  'S', 'P', 0, 1, 0, 0,
                                        0,   7,   0x82, 0x08, 0xa2, 0,   0,   0, 0, 0, 0,
                                        0,   0,   0,    0,    0,    0,   0,   0, 0, 0};
static const uint8_t nobodys_message[] = {
    'N', 'T', 'L', 'M', 'S', 'S', 'P', 0, 3, 0, 0,  0, 1,  0, 1, 0, 64, 0,    0,    0,    0, 0,
    0,   0,   65,  0,   0,   0,   0,   0, 0, 0, 65, 0, 0,  0, 0, 0, 0,  0,    65,   0,    0, 0,
    0,   0,   0,   0,   65,  0,   0,   0, 0, 0, 0,  0, 65, 0, 0, 0, 5,  0x8a, 0x88, 0xa2, 0};
/* RFC 4178: an offer of NTLM alone, without a token. */
static const uint8_t spnego_offer[] = {0x60, 0x1c, 0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02,
                                       0xa0, 0x12, 0x30, 0x10, 0xa0, 0x0e, 0x30, 0x0c, 0x06, 0x0a,
                                       0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a};

static bool not_ready(struct integrated_readiness *r, const char *why, const char *cure)
{
    (void)snprintf(r->reason, sizeof r->reason, "%.*s", (int)sizeof r->reason - 1, why);
    (void)snprintf(r->cure, sizeof r->cure, "%s", cure);
    return false;
}

static bool prove(struct ntlm_talk *t, struct buf *out, struct integrated_readiness *r)
{
    char reason[INTEGRATED_REASON_MAX] = "";
    struct ntlm_helpers *h = t->pool;
    if (!h->command_ok)
        return not_ready(r, "the command line is no command",
                         "write the path of ntlm_auth from the root, then its arguments, without "
                         "--helper-protocol, which is ours");
    struct span first = h->spnego ? span_of(spnego_offer, sizeof spnego_offer)
                                  : span_of(first_message, sizeof first_message);
    if (ntlm_talk_step(t, first, out, reason) != INTEGRATED_CONTINUE)
        return not_ready(r, reason,
                         "let authentication.integrated.ntlm_auth name Samba's "
                         "ntlm_auth, and try it by hand as the service's user");
    buf_reset(out);
    if (h->spnego)
        return true;
    if (ntlm_talk_step(t, span_of(nobodys_message, sizeof nobodys_message), out, reason) ==
        INTEGRATED_UNAVAILABLE)
        return not_ready(r, reason,
                         "join the domain, start winbindd, and put the service's user into the "
                         "group winbindd_priv");
    return true;
}

void ntlm_helpers_prove(struct ntlm_helpers *h, struct integrated_readiness *r)
{
    struct buf out;
    struct ntlm_talk *t = ntlm_talk_new(h);
    *r = (struct integrated_readiness){0};
    buf_init(&out, INTEGRATED_TOKEN_MAX);
    r->ready = t != NULL ? prove(t, &out, r) : not_ready(r, "no memory", "");
    if (t != NULL)
        ntlm_talk_free(&t);
    buf_deinit(&out);
}
