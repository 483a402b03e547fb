/* Runs every tests/transcripts/NAME.smtp against the server engine.
 *
 * A transcript is a list of lines:
 *   # text                 a comment
 *   # option NAME=VALUE    of the engine, see options[] below; also tls=1 (implicit TLS)
 *   C: text                the client sends text and CRLF;  escapes \r \n \0 \\ \xHH \{N:text}
 *   C| text                the client sends text as it stands
 *   S: pattern             the next line of the server; * stands for anything. All lines must be
 *                          there, and no others. "250*" stands for all lines of a reply.
 *   A: EVENT answer        how the session answers the next event of that name: "550 5.7.1 no",
 *                          "334 challenge", "-" as usual. Without one the session takes everything.
 *   E: pattern             this event came, after the one of the last E: line
 *   N: pattern             no such event came, ever
 *   T: ms                  time passes, and the timer is looked at
 * C lines before the first S line are sent before the greeting. After STARTTLS the handshake is
 * done when the client sends again behind an S line.
 *
 * "--write-seeds tests/fuzz/corpus/server" makes the fuzzer's seeds out of them.
 *
 * Each file is run with the client's bytes as a whole, byte by byte, and in 20 random splits, every
 * second one with late answers: events and output must be the same. Where no time passes and no TLS
 * starts, also all of the client's flights at once. */
#include "support/smtp_driver.h"

#include "support/test.h"

#include <dirent.h>

enum {
    STEPS = 2000,
    WHOLE = -1,
    BYTES = -2,
    JOINED = -3,
    RANDOM_RUNS = 20,
};

struct script_step {
    char kind; /* C S E N T */
    struct buf bytes;
};

struct script {
    const char *name;
    char *text;
    struct script_step steps[STEPS];
    size_t n;
    struct driver d;
    bool tls;
    bool joinable;
    char *owned[512];
    size_t owned_n;
};

static bool matches(const char *pattern, struct span text)
{
    const char *star = NULL;
    size_t i = 0, from = 0;
    while (i < text.n) {
        if (*pattern == '*') {
            star = ++pattern;
            from = i;
        } else if (*pattern != '\0' && (uint8_t)*pattern == text.p[i]) {
            pattern++;
            i++;
        } else if (star != NULL) {
            pattern = star;
            i = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static void unescape(const char *s, struct buf *out)
{
    for (; *s != '\0'; s++) {
        if (*s != '\\') {
            (void)buf_add_byte(out, (uint8_t)*s);
            continue;
        }
        s++;
        if (*s == 'r')
            (void)buf_add_byte(out, '\r');
        else if (*s == 'n')
            (void)buf_add_byte(out, '\n');
        else if (*s == '0')
            (void)buf_add_byte(out, 0);
        else if (*s == 'x') {
            char hex[3] = {s[1], s[2], '\0'};
            (void)buf_add_byte(out, (uint8_t)strtoul(hex, NULL, 16));
            s += 2;
        } else if (*s == '{') {
            char *end;
            unsigned long n = strtoul(s + 1, &end, 10);
            const char *close = strchr(end, '}');
            assert_non_null(close);
            struct buf part;
            buf_init(&part, 100000);
            char copy[200];
            assert_true(span_cstr(span_of(end + 1, (size_t)(close - end - 1)), copy, sizeof copy));
            unescape(copy, &part);
            for (; n > 0; n--)
                (void)buf_add(out, buf_span(&part));
            buf_deinit(&part);
            s = close;
        } else {
            (void)buf_add_byte(out, (uint8_t)*s);
        }
    }
}

static char *own(struct script *script, const char *text)
{
    char *copy = malloc(strlen(text) + 1);
    assert_non_null(copy);
    (void)strcpy(copy, text);
    assert_true(script->owned_n < sizeof script->owned / sizeof *script->owned);
    script->owned[script->owned_n++] = copy;
    return copy;
}

static void set_option(struct script *script, const char *line)
{
    struct smtp_server_options *o = &script->d.options;
    const char *equals = strchr(line, '=');
    assert_non_null(equals);
    struct span key = span_of(line, (size_t)(equals - line));
    char *value = own(script, equals + 1);
    unsigned long long number = strtoull(value, NULL, 10);
    const struct {
        const char *key;
        uint32_t *u32;
        uint64_t *u64;
        int64_t *ms;
        bool *flag;
        const char **text;
    } options[] = {
        {.key = "recipients", .u32 = &o->recipients_max},
        {.key = "messages", .u32 = &o->messages_max},
        {.key = "errors", .u32 = &o->errors_max},
        {.key = "junk", .u32 = &o->junk_max},
        {.key = "command_line", .u32 = &o->command_line_max},
        {.key = "data_rate", .u32 = &o->data_rate_min},
        {.key = "message_size", .u64 = &o->message_size_max},
        {.key = "session_size", .u64 = &o->session_size_max},
        {.key = "greeting_timeout", .ms = &o->greeting_timeout_ms},
        {.key = "command_timeout", .ms = &o->command_timeout_ms},
        {.key = "data_timeout", .ms = &o->data_timeout_ms},
        {.key = "data_grace", .ms = &o->data_grace_ms},
        {.key = "session_timeout", .ms = &o->session_timeout_ms},
        {.key = "starttls", .flag = &o->starttls},
        {.key = "require_tls", .flag = &o->require_tls},
        {.key = "smtputf8", .flag = &o->smtputf8},
        {.key = "chunking", .flag = &o->chunking},
        {.key = "dsn", .flag = &o->dsn},
        {.key = "tls", .flag = &script->tls},
        {.key = "auth", .text = &o->auth},
        {.key = "auth_tls", .text = &o->auth_tls},
    };
    if (span_is(key, "bare_lf")) {
        o->bare_lf = strcmp(value, "normalise") == 0 ? SMTP_BARE_LF_NORMALISE : SMTP_BARE_LF_REJECT;
        return;
    }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (!span_is(key, options[i].key))
            continue;
        if (options[i].u32 != NULL)
            *options[i].u32 = (uint32_t)number;
        else if (options[i].u64 != NULL)
            *options[i].u64 = number;
        else if (options[i].ms != NULL)
            *options[i].ms = (int64_t)number;
        else if (options[i].flag != NULL)
            *options[i].flag = number != 0;
        else
            *options[i].text = value;
        return;
    }
    fail_msg("%s: no option %s", script->name, line);
}

static void add_answer(struct script *script, const char *line)
{
    size_t n = strcspn(line, " ");
    for (size_t i = 0; i < DRIVER_EVENT_TYPES; i++) {
        if (strlen(driver_names[i]) != n || strncmp(driver_names[i], line, n) != 0)
            continue;
        assert_true(script->d.answer_count[i] < DRIVER_ANSWERS);
        script->d.answers[i][script->d.answer_count[i]++] = own(script, line + n + 1);
        return;
    }
    fail_msg("%s: no event %s", script->name, line);
}

static void add_step(struct script *script, char kind, const char *text)
{
    assert_true(script->n < STEPS);
    struct script_step *step = &script->steps[script->n++];
    step->kind = kind;
    buf_init(&step->bytes, 1u << 24);
    if (kind == 'C' || kind == '|')
        unescape(text, &step->bytes);
    else
        (void)buf_add_str(&step->bytes, text);
    if (kind == 'C')
        (void)buf_add_str(&step->bytes, "\r\n");
    step->kind = kind == '|' ? 'C' : kind;
}

static void parse_line(struct script *script, const char *line)
{
    if (line[0] == '\0')
        return;
    if (line[0] == '#') {
        if (strncmp(line, "# option ", 9) == 0)
            set_option(script, line + 9);
        return;
    }
    const char *text = line[1] != '\0' && line[2] == ' ' ? line + 3 : line + 2;
    if (line[0] == 'C' && line[1] == '|')
        add_step(script, '|', text);
    else if (line[1] == ':' && strchr("CSENT", line[0]) != NULL)
        add_step(script, line[0], text);
    else if (line[0] == 'A' && line[1] == ':')
        add_answer(script, text);
    else
        fail_msg("%s: what is \"%s\"?", script->name, line);
}

static void script_load(struct script *script, const char *name)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/transcripts/%s", TESTS_DIR, name);
    memset(script, 0, sizeof *script);
    script->name = name;
    driver_init(&script->d);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        fail_msg("%s: cannot open", path);
    char line[16384];
    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        parse_line(script, line);
    }
    (void)fclose(f);
    script->joinable = script->n > 0 && script->steps[0].kind == 'S';
    for (size_t i = 0; i < script->n; i++)
        script->joinable = script->joinable && script->steps[i].kind != 'T';
}

static void script_unload(struct script *script)
{
    for (size_t i = 0; i < script->n; i++)
        buf_deinit(&script->steps[i].bytes);
    for (size_t i = 0; i < script->owned_n; i++)
        free(script->owned[i]);
    driver_deinit(&script->d);
}

static void send_flight(struct driver *d, struct buf *flight, int how)
{
    struct span bytes = buf_span(flight);
    if (bytes.n == 0)
        return;
    if (d->s.mode == SMTP_MODE_TLS)
        smtp_server_tls_started(&d->s, d->now);
    while (bytes.n > 0) {
        size_t n = bytes.n;
        if (how == BYTES)
            n = 1;
        else if (how >= 0)
            n = 1 + (size_t)(driver_random(d) % (how % 3 == 0 ? 4 : how % 3 == 1 ? 40 : bytes.n));
        driver_feed(d, span_sub(bytes, 0, n));
        bytes = span_from(bytes, n);
    }
    buf_reset(flight);
}

static void check_line(const struct script *script, struct buf *output, const char *pattern)
{
    struct span out = buf_span(output);
    size_t lf = span_find(out, '\n');
    if (lf == out.n || lf == 0 || out.p[lf - 1] != '\r')
        fail_msg("%s: expected \"%s\", and the server has said no more", script->name, pattern);
    struct span line = span_sub(out, 0, lf - 1);
    if (!matches(pattern, line))
        fail_msg("%s: expected \"%s\", came \"%.*s\"", script->name, pattern, SPAN_ARG(line));
    bool more =
        pattern[0] != '\0' && strcmp(pattern + 3, "*") == 0 && line.n > 3 && line.p[3] == '-';
    buf_consume(output, lf + 1);
    if (more)
        check_line(script, output, pattern);
}

/* Plays the script; with `check`, S lines are compared as they come. */
static void play(struct script *script, struct driver *d, int how, bool check)
{
    struct buf flight;
    buf_init(&flight, 1u << 25);
    bool greeted = false;
    driver_start(d, script->tls);
    for (size_t i = 0; i < script->n; i++) {
        struct script_step *step = &script->steps[i];
        if (step->kind == 'C') {
            (void)buf_add(&flight, buf_span(&step->bytes));
            continue;
        }
        if (!greeted && buf_span(&flight).n > 0) { /* before the greeting is answered */
            smtp_server_feed(&d->s, buf_span(&flight), d->now);
            driver_pump(d, NULL);
            buf_reset(&flight);
        } else if (!greeted) {
            driver_pump(d, NULL);
        }
        greeted = true;
        if (how != JOINED)
            send_flight(d, &flight, how);
        if (step->kind == 'T') {
            d->now += strtoll(buf_cstr(&step->bytes), NULL, 10);
            smtp_server_timeout(&d->s, d->now);
            driver_pump(d, NULL);
        }
        if (step->kind == 'S' && check)
            check_line(script, &d->output, buf_cstr(&step->bytes));
    }
    send_flight(d, &flight, how == JOINED ? WHOLE : how);
    if (d->in_body)
        (void)buf_add_str(&d->events, "\n");
    if (check && buf_span(&d->output).n > 0)
        fail_msg("%s: the server said more: \"%.*s\"", script->name,
                 SPAN_ARG(buf_span(&d->output)));
    buf_deinit(&flight);
}

static void check_events(const struct script *script, struct span events)
{
    struct span rest = events;
    for (size_t i = 0; i < script->n; i++) {
        const struct script_step *step = &script->steps[i];
        if (step->kind != 'E' && step->kind != 'N')
            continue;
        char pattern[4096];
        assert_true(span_cstr(buf_span(&step->bytes), pattern, sizeof pattern));
        struct span look = step->kind == 'E' ? rest : events;
        bool found = false;
        while (look.n > 0 && !found) {
            size_t end = span_find(look, '\n');
            found = matches(pattern, span_sub(look, 0, end));
            look = span_from(look, end + 1);
        }
        if (found != (step->kind == 'E'))
            fail_msg("%s: %s event \"%s\" in:\n%.*s", script->name,
                     found ? "there is an" : "there is no", pattern, SPAN_ARG(events));
        if (step->kind == 'E')
            rest = look;
    }
}

/* Another run of the same script must do the same. */
static void compare(struct script *script, const struct driver *whole, struct span output, int how)
{
    struct driver *d = malloc(sizeof *d);
    assert_non_null(d);
    *d = script->d;
    d->random += (uint64_t)(how + 10) * 7919;
    d->deferred = how == BYTES || (how >= 0 && how % 2 == 1);
    play(script, d, how, false);
    if (!span_equal(buf_span(&d->output), output))
        fail_msg("%s: split %d: the output differs:\n%.*s\n--- whole:\n%.*s", script->name, how,
                 SPAN_ARG(buf_span(&d->output)), SPAN_ARG(output));
    if (!span_equal(buf_span(&d->events), buf_span(&whole->events)))
        fail_msg("%s: split %d: the events differ:\n%.*s\n--- whole:\n%.*s", script->name, how,
                 SPAN_ARG(buf_span(&d->events)), SPAN_ARG(buf_span(&whole->events)));
    driver_deinit(d);
    free(d);
}

static void run_script(const char *name)
{
    struct script *script = malloc(sizeof *script);
    struct driver *checked = malloc(sizeof *checked), *whole = malloc(sizeof *whole);
    assert_true(script != NULL && checked != NULL && whole != NULL);
    script_load(script, name);
    *checked = script->d;
    play(script, checked, WHOLE, true);
    check_events(script, buf_span(&checked->events));
    *whole = script->d;
    play(script, whole, WHOLE, false);
    compare(script, whole, buf_span(&whole->output), BYTES);
    for (int i = 0; i < RANDOM_RUNS; i++)
        compare(script, whole, buf_span(&whole->output), i);
    if (script->joinable && !whole->s.tls)
        compare(script, whole, buf_span(&whole->output), JOINED);
    driver_deinit(checked);
    driver_deinit(whole);
    script_unload(script);
    free(checked);
    free(whole);
    free(script);
}

static void every_transcript_holds_however_its_bytes_are_split(void **state)
{
    (void)state;
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/transcripts", TESTS_DIR);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    int count = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        size_t n = strlen(entry->d_name);
        if (n < 6 || strcmp(entry->d_name + n - 5, ".smtp") != 0)
            continue;
        run_script(entry->d_name);
        count++;
    }
    (void)closedir(dir);
    print_message("%d transcripts, each in %d splits\n", count, RANDOM_RUNS + 2);
    assert_true(count >= 60);
}

static void one_transcript(void **state)
{
    run_script(*state);
}

/* The client's bytes of every short transcript as a seed of server_fuzz (its byte 0: options). */
static void write_seeds(const char *folder)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/transcripts", TESTS_DIR);
    DIR *dir = opendir(path);
    struct script *script = malloc(sizeof *script);
    if (dir == NULL || script == NULL)
        abort();
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strstr(entry->d_name, ".smtp") == NULL)
            continue;
        script_load(script, entry->d_name);
        const struct smtp_server_options *o = &script->d.options;
        struct buf seed;
        buf_init(&seed, 1u << 24);
        int flags = (o->bare_lf == SMTP_BARE_LF_NORMALISE ? 1 : 0) + (script->tls ? 2 : 0) +
                    (o->starttls ? 4 : 0) + (o->require_tls ? 8 : 0) +
                    (o->auth[0] != '\0' ? 16 : 0) + (o->chunking ? 0 : 32) +
                    (o->message_size_max < 1000 ? 64 : 0);
        (void)buf_add_byte(&seed, (uint8_t)flags);
        (void)buf_add_byte(&seed, 0);
        for (size_t i = 0; i < script->n; i++)
            if (script->steps[i].kind == 'C')
                (void)buf_add(&seed, buf_span(&script->steps[i].bytes));
        (void)snprintf(path, sizeof path, "%s/%.200s", folder, entry->d_name);
        FILE *f = buf_span(&seed).n > 4000 ? NULL : fopen(path, "wb");
        if (f != NULL) {
            (void)fwrite(buf_span(&seed).p, 1, buf_span(&seed).n, f);
            (void)fclose(f);
        }
        buf_deinit(&seed);
        script_unload(script);
    }
    free(script);
    (void)closedir(dir);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write-seeds") == 0) {
        write_seeds(argv[2]);
        return 0;
    }
    if (argc > 1) { /* NAME.smtp: that one only */
        const struct CMUnitTest one[] = {cmocka_unit_test_prestate(one_transcript, argv[1])};
        return cmocka_run_group_tests(one, NULL, NULL);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_transcript_holds_however_its_bytes_are_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
