/* The client engine against tests/client-transcripts: each file is a dialogue, played once with
 * every block of server bytes whole, once byte by byte, and once for each place where a block can
 * be cut in two. Events and output must be the file's each time (contract 1: any split of the input
 * gives the same events and output).
 *
 * The lines of a file:
 *   # text              a comment;  "# no-split" says that cutting changes the meaning (with why)
 *   option KEY[=VALUE]  tls=none|optional|required, secured, auth, auth-needs-tls, helo,
 * no-pipelining S: text             the server says text CRLF;   S= text  the same without CRLF,
 * with \r \n \0 \xHH C: text             the client must say exactly this next E: KIND ... the next
 * event; a final * stands for any rest > ACTION            what the session does (see act() below)
 * When a line of S or > is reached, everything said and told so far must have been expected. */
#include "smtp/client_engine.h"

#include "support/test.h"

#include <dirent.h>

enum { LINES_MAX = 400, LINE_MAX_CHARS = 2048, RECIPIENTS_MAX = 8, EVENTS_MAX = 64 };

enum split { SPLIT_NONE, SPLIT_BYTES, SPLIT_AT };

struct player {
    struct smtp_client engine;
    struct smtp_client_transaction transaction;
    struct smtp_client_recipient recipients[RECIPIENTS_MAX];
    char argument[RECIPIENTS_MAX + 4][256];
    struct buf said; /* output not yet expected */
    char events[EVENTS_MAX][LINE_MAX_CHARS];
    size_t event_first, event_n;
    int64_t now;
    enum split split;
    size_t at;      /* SPLIT_AT: where in a block */
    size_t longest; /* block seen */
    const char *file;
    int line;
};

static void fail_at(const struct player *p, const char *what, const char *expected, const char *got)
{
    print_error("%s:%d: (split %d at %zu) %s\n  expected: %s\n  got:      %s\n", p->file, p->line,
                (int)p->split, p->at, what, expected, got);
    fail();
}

/* ---- what the engine says and tells ---- */

static void describe(const struct smtp_client_event *event, char *out, size_t size)
{
    static const char *const kinds[] = {
        "WANT_TLS", "AUTH_NEEDED", "AUTH_CHALLENGE", "AUTH_OK",  "AUTH_REFUSED",
        "READY",    "WANT_BODY",   "RECIPIENT",      "FINISHED", "CLOSED"};
    static const char *const results[] = {"DELIVERED", "DEFERRED", "FAILED"};
    size_t n = (size_t)snprintf(out, size, "%s", kinds[event->kind]);
    if (event->kind == SMTP_CLIENT_RECIPIENT)
        n += (size_t)snprintf(out + n, size - n, " %zu", event->recipient);
    if (event->data.n > 0)
        n += (size_t)snprintf(out + n, size - n, " %.*s", SPAN_ARG(event->data));
    const struct smtp_client_outcome *o = event->outcome;
    if (o == NULL)
        return;
    n += (size_t)snprintf(out + n, size - n, " %s", results[o->result]);
    static const char *const flags[] = {" maybe", " no-attempt", " too-many", " needs-auth",
                                        " dsn"};
    const bool set[] = {o->maybe_delivered, o->no_attempt, o->too_many, o->needs_auth,
                        o->dsn_passed_on};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (set[i])
            n += (size_t)snprintf(out + n, size - n, "%s", flags[i]);
    (void)snprintf(out + n, size - n, " %d %s %s", o->code, o->status, o->text);
}

static void pull(struct player *p)
{
    struct smtp_client_event event;
    bool moved = true;
    while (moved) {
        moved = false;
        while (smtp_client_next_event(&p->engine, p->now, &event)) {
            assert_true(p->event_n < EVENTS_MAX);
            describe(&event, p->events[p->event_n++], LINE_MAX_CHARS);
            moved = true;
        }
        struct span out = smtp_client_output(&p->engine);
        if (out.n > 0) {
            assert_true(buf_add(&p->said, out));
            smtp_client_sent(&p->engine, out.n, p->now);
            moved = true;
        }
    }
}

static void expect_silence(struct player *p)
{
    pull(p);
    if (p->event_first < p->event_n)
        fail_at(p, "an event that is not in the file", "(none)", p->events[p->event_first]);
    if (p->said.n > 0)
        fail_at(p, "output that is not in the file", "(none)", buf_cstr(&p->said));
}

static void expect_event(struct player *p, const char *expected)
{
    pull(p);
    if (p->event_first == p->event_n)
        fail_at(p, "no event", expected, "(none)");
    const char *got = p->events[p->event_first++];
    size_t n = strlen(expected);
    bool open = n > 0 && expected[n - 1] == '*';
    if (open ? strncmp(got, expected, n - 1) != 0 : strcmp(got, expected) != 0)
        fail_at(p, "another event", expected, got);
    if (p->event_first == p->event_n)
        p->event_first = p->event_n = 0;
}

/* \r \n \t \0 \\ \xHH */
static size_t unescape(const char *text, char *out)
{
    size_t n = 0;
    for (; *text != '\0'; text++) {
        unsigned value;
        if (text[0] != '\\') {
            out[n++] = *text;
        } else if (text[1] == 'x' && sscanf(text + 2, "%2x", &value) == 1) {
            out[n++] = (char)value;
            text += 3;
        } else {
            text++;
            out[n++] = *text == 'r'   ? '\r'
                       : *text == 'n' ? '\n'
                       : *text == 't' ? '\t'
                       : *text == '0' ? '\0'
                                      : *text;
        }
    }
    out[n] = '\0';
    return n;
}

static void expect_output(struct player *p, const char *expected, bool line)
{
    pull(p);
    struct span said = buf_span(&p->said);
    char want[LINE_MAX_CHARS];
    size_t n =
        line ? (size_t)snprintf(want, sizeof want, "%s\r\n", expected) : unescape(expected, want);
    if (said.n < n || memcmp(said.p, want, n) != 0)
        fail_at(p, "other output", expected, said.n == 0 ? "(none)" : buf_cstr(&p->said));
    buf_consume(&p->said, n);
}

/* ---- what the file makes happen ---- */

static void feed(struct player *p, struct span block)
{
    expect_silence(p);
    if (block.n > p->longest)
        p->longest = block.n;
    size_t cut = p->split == SPLIT_AT && p->at < block.n ? p->at : block.n;
    while (block.n > 0) {
        size_t n = p->split == SPLIT_BYTES ? 1 : cut;
        smtp_client_feed(&p->engine, span_sub(block, 0, n), p->now);
        pull(p);
        block = span_from(block, n);
        cut = block.n;
    }
}

/* "start from=A to=B to=C,NOTIFY=5,ORCPT=x size=N eightbit utf8 ret=full|hdrs envid=X"; values take
 * the escapes. "start!" expects a refusal. */
static void start(struct player *p, char *words, bool refused)
{
    size_t used = 0;
    memset(&p->transaction, 0, sizeof p->transaction);
    memset(p->recipients, 0, sizeof p->recipients);
    p->transaction.recipients = p->recipients;
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
        char *value = strchr(word, '=');
        struct span span = {NULL, 0};
        if (value != NULL) {
            *value++ = '\0';
            char *comma = strchr(value, ',');
            unsigned notify = 0;
            char orcpt[128] = "";
            if (comma != NULL) {
                *comma = '\0';
                (void)sscanf(comma + 1, "NOTIFY=%u,ORCPT=%127s", &notify, orcpt);
            }
            assert_true(used + 1 < RECIPIENTS_MAX + 4);
            span = span_of(p->argument[used], unescape(value, p->argument[used]));
            used++;
            if (strcmp(word, "to") == 0) {
                struct smtp_client_recipient *r = &p->recipients[p->transaction.recipient_count++];
                r->address = span;
                r->notify = notify;
                strcpy(p->argument[used], orcpt);
                r->orcpt = span_str(p->argument[used++]);
                continue;
            }
        }
        if (strcmp(word, "from") == 0)
            p->transaction.sender = span;
        else if (strcmp(word, "size") == 0)
            assert_true(span_u64(span, UINT64_MAX, &p->transaction.size));
        else if (strcmp(word, "envid") == 0)
            p->transaction.envid = span;
        else if (strcmp(word, "ret") == 0)
            p->transaction.ret =
                span_is(span, "full") ? SMTP_CLIENT_RET_FULL : SMTP_CLIENT_RET_HDRS;
        else if (strcmp(word, "eightbit") == 0)
            p->transaction.eightbit = true;
        else if (strcmp(word, "utf8") == 0)
            p->transaction.utf8 = true;
        else
            fail_at(p, "unknown word", "start ...", word);
    }
    struct err e = {ERR_NONE, ""};
    if (smtp_client_start(&p->engine, &p->transaction, p->now, &e) == refused)
        fail_at(p, "start", refused ? "refused" : "begun", e.text);
}

static void body(struct player *p, const char *text, bool last)
{
    char bytes[LINE_MAX_CHARS];
    struct span left = span_of(bytes, unescape(text, bytes));
    do {
        size_t n = smtp_client_body(&p->engine, left, last, p->now);
        left = span_from(left, n);
        struct span out = smtp_client_output(&p->engine);
        assert_true(buf_add(&p->said, out));
        smtp_client_sent(&p->engine, out.n, p->now);
    } while (left.n > 0);
}

static void act(struct player *p, char *line)
{
    expect_silence(p);
    char *rest = strchr(line, ' ');
    char bytes[LINE_MAX_CHARS];
    if (rest != NULL)
        *rest++ = '\0';
    const char *text = rest != NULL ? rest : "";
    if (strcmp(line, "start") == 0 || strcmp(line, "start!") == 0) {
        start(p, rest, line[5] == '!');
    } else if (strcmp(line, "body") == 0 || strcmp(line, "last") == 0) {
        body(p, text, line[0] == 'l');
    } else if (strcmp(line, "tls") == 0) {
        smtp_client_tls_started(&p->engine, p->now);
    } else if (strcmp(line, "tls-failed") == 0) {
        smtp_client_tls_failed(&p->engine, text);
    } else if (strcmp(line, "auth") == 0) { /* auth MECHANISM [initial]; initial "" is "=" */
        char *initial = strchr(rest, ' ');
        if (initial != NULL)
            *initial++ = '\0';
        size_t n =
            initial != NULL ? unescape(strcmp(initial, "\"\"") == 0 ? "" : initial, bytes) : 0;
        smtp_client_auth(&p->engine, rest, initial != NULL, span_of(bytes, n), p->now);
        assert_true(smtp_client_output_is_secret(&p->engine));
    } else if (strcmp(line, "answer") == 0) {
        smtp_client_auth_answer(&p->engine, span_of(bytes, unescape(text, bytes)), p->now);
        assert_true(smtp_client_output_is_secret(&p->engine));
    } else if (strcmp(line, "cancel") == 0) {
        smtp_client_auth_cancel(&p->engine, p->now);
    } else if (strcmp(line, "skip") == 0) {
        smtp_client_auth_skip(&p->engine);
    } else if (strcmp(line, "quit") == 0) {
        smtp_client_quit(&p->engine, p->now);
    } else if (strcmp(line, "lost") == 0) {
        smtp_client_lost(&p->engine, rest);
    } else if (strcmp(line, "abort") == 0) {
        smtp_client_abort(&p->engine, rest);
    } else if (strcmp(line, "timeout") == 0) { /* timeout MS: after exactly so long, not before */
        int64_t deadline = smtp_client_deadline(&p->engine);
        uint64_t ms = 0;
        assert_true(span_u64(span_str(text), UINT32_MAX, &ms));
        assert_int_equal(deadline - p->now, ms);
        p->now = deadline - 1;
        smtp_client_timeout(&p->engine, p->now);
        expect_silence(p);
        p->now = deadline;
        smtp_client_timeout(&p->engine, p->now);
    } else {
        fail_at(p, "unknown action", "", line);
    }
}

static void set_option(struct smtp_client_options *o, const struct player *p, const char *text)
{
    if (strcmp(text, "tls=optional") == 0)
        o->tls = SMTP_CLIENT_TLS_OPTIONAL;
    else if (strcmp(text, "tls=required") == 0)
        o->tls = SMTP_CLIENT_TLS_REQUIRED;
    else if (strcmp(text, "secured") == 0)
        o->secured = true;
    else if (strcmp(text, "auth") == 0)
        o->auth = true;
    else if (strcmp(text, "auth-needs-tls") == 0)
        o->auth_needs_tls = true;
    else if (strcmp(text, "helo") == 0)
        o->helo_only = true;
    else if (strcmp(text, "no-pipelining") == 0)
        o->no_pipelining = true;
    else
        fail_at(p, "unknown option", "", text);
}

struct file {
    char line[LINES_MAX][LINE_MAX_CHARS];
    int count;
    bool no_split;
};

static void play_lines(struct player *p, const struct file *f)
{
    char line[LINE_MAX_CHARS], block[16 * LINE_MAX_CHARS];
    size_t block_n = 0;
    for (p->line = 1; p->line <= f->count; p->line++) {
        strcpy(line, f->line[p->line - 1]);
        bool server = line[0] == 'S' && (line[1] == ':' || line[1] == '=');
        if (server) {
            const char *text = strlen(line) > 3 ? line + 3 : "";
            assert_true(block_n + strlen(text) + 2 < sizeof block);
            block_n += unescape(text, block + block_n);
            if (line[1] == ':') {
                block[block_n++] = '\r';
                block[block_n++] = '\n';
            }
            continue;
        }
        if (block_n > 0) {
            feed(p, span_of(block, block_n));
            block_n = 0;
        }
        if (strncmp(line, "C: ", 3) == 0)
            expect_output(p, line + 3, true);
        else if (strncmp(line, "C= ", 3) == 0)
            expect_output(p, line + 3, false);
        else if (strncmp(line, "E: ", 3) == 0)
            expect_event(p, line + 3);
        else if (strncmp(line, "> ", 2) == 0)
            act(p, line + 2);
        else if (line[0] != '\0' && line[0] != '#' && strncmp(line, "option ", 7) != 0)
            fail_at(p, "unknown line", "", line);
    }
    if (block_n > 0)
        feed(p, span_of(block, block_n));
    expect_silence(p);
}

static size_t play(const struct file *f, const char *name, enum split split, size_t at)
{
    struct player *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->file = name;
    p->split = split;
    p->at = at;
    p->now = 1000;
    buf_init(&p->said, 1 << 20);
    struct smtp_client_options options = {.hello_name = "relay.example.net"};
    for (int i = 0; i < f->count; i++)
        if (strncmp(f->line[i], "option ", 7) == 0)
            set_option(&options, p, f->line[i] + 7);
    struct err e;
    assert_true(smtp_client_init(&p->engine, &options, p->now, &e));
    play_lines(p, f);
    size_t longest = p->longest;
    smtp_client_deinit(&p->engine);
    buf_deinit(&p->said);
    free(p);
    return longest;
}

static struct file *load(const char *name)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/client-transcripts/%s", TESTS_DIR, name);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    struct file *f = calloc(1, sizeof *f);
    assert_non_null(f);
    while (f->count < LINES_MAX && fgets(f->line[f->count], LINE_MAX_CHARS, in) != NULL) {
        char *line = f->line[f->count++];
        line[strcspn(line, "\r\n")] = '\0';
        f->no_split |= strncmp(line, "# no-split", 10) == 0;
    }
    assert_true(f->count < LINES_MAX);
    fclose(in);
    return f;
}

static int is_transcript(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && strcmp(name + n - 5, ".smtp") == 0;
}

static void every_transcript_plays_the_same_however_it_is_cut(void **state)
{
    (void)state;
    int files = 0, played = 0;
    DIR *dir = opendir(TESTS_DIR "/client-transcripts");
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (!is_transcript(entry->d_name))
            continue;
        struct file *f = load(entry->d_name);
        size_t longest = play(f, entry->d_name, SPLIT_NONE, 0);
        files++;
        played++;
        if (!f->no_split) {
            (void)play(f, entry->d_name, SPLIT_BYTES, 0);
            for (size_t at = 1; at < longest; at++)
                (void)play(f, entry->d_name, SPLIT_AT, at);
            played += (int)longest;
        }
        free(f);
    }
    closedir(dir);
    print_message("%d transcripts, played %d times\n", files, played);
    assert_true(files >= 35);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_transcript_plays_the_same_however_it_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
