/* Thousands of cases against one policy: `postern explain --batch` and `--test`. */
#include "commands/exit_codes.h"
#include "commands/explain_case.h"
#include "commands/explain_print.h"
#include "platform/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 16 * 1024, DIFFERENCE_MAX = 8 * 1024 };

struct batch {
    const struct policy *policy;
    const char *path;
    FILE *file;
    unsigned line;
    bool json;
    size_t allowed, refused, unknown, faulty; /* cases by their verdict; lines with errors */
    size_t failed;                            /* --test: not as expected */
};

static int open_file(struct batch *b)
{
    struct files_info info;
    struct err e = {0};
    if (strcmp(b->path, "-") == 0) {
        b->file = stdin;
        return EXIT_DONE;
    }
    enum files_result found = files_look(b->path, &info, &e);
    if (found == FILES_OK)
        b->file = fopen(b->path, "rb");
    if (b->file != NULL)
        return EXIT_DONE;
    fprintf(stderr, "postern: %s: %s\n", b->path,
            found == FILES_ABSENT ? "no such file" : "cannot be read");
    return found == FILES_ABSENT ? EXIT_NO_INPUT : EXIT_IO;
}

static void close_file(struct batch *b)
{
    if (b->file != stdin)
        (void)fclose(b->file);
}

static void fault(struct batch *b, const char *what)
{
    fprintf(stderr, "%s:%u: %s\n", b->path, b->line, what);
    b->faulty++;
}

/* The next case; false at the end of the file. Faulty lines are told and passed over. */
static bool next_case(struct batch *b, char *line, struct explain_case *c)
{
    struct err e = {0};
    bool empty = true;
    while (fgets(line, LINE_MAX_BYTES, b->file) != NULL) {
        size_t n = strlen(line);
        b->line++;
        if (n + 1 == LINE_MAX_BYTES && line[n - 1] != '\n') {
            fault(b, "the line is too long");
            for (int c1 = fgetc(b->file); c1 != EOF && c1 != '\n';)
                c1 = fgetc(b->file);
            continue;
        }
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = '\0';
        if (!explain_case_parse(b->policy, line, c, &empty, &e))
            fault(b, e.text);
        else if (!empty)
            return true;
    }
    return false;
}

static void count(struct batch *b, enum acl_outcome outcome)
{
    switch (outcome) {
    case ACL_ALLOWED: b->allowed++; return;
    case ACL_REFUSED: b->refused++; return;
    case ACL_CANNOT_TELL: b->unknown++; return;
    }
}

/* The same object as explain --json, on one line, with the number of the case's line in the file.
 */
static bool print_json(const struct batch *b, const struct explain_answer *answer,
                       const char *difference)
{
    json_t *all = explain_json(b->policy, answer);
    if (all != NULL) {
        json_object_set_new(all, "case", json_integer((json_int_t)b->line));
        if (difference != NULL)
            json_object_set_new(all, "difference", json_string(difference));
    }
    char *text = all != NULL ? json_dumps(all, JSON_COMPACT) : NULL;
    bool ok = text != NULL && puts(text) >= 0;
    free(text);
    json_decref(all);
    return ok;
}

static bool print_line(const struct batch *b, const struct explain_answer *answer)
{
    const struct acl_reason *r = acl_explain_last(&answer->walk);
    struct buf reply;
    buf_init(&reply, 4096);
    bool allowed = answer->walk.outcome == ACL_ALLOWED;
    bool ok = acl_reason_reply(r, &reply) &&
              printf("%u\t%s\t%s\t%s\t%s:%u\t%s\t%s\t%s\n", b->line,
                     acl_outcome_name(answer->walk.outcome), acl_stage_name(r->stage), r->rule,
                     r->at.file == NULL ? "" : r->at.file, r->at.line, r->entry, buf_cstr(&reply),
                     allowed ? "" : r->change) >= 0;
    buf_deinit(&reply);
    return ok;
}

/* The worst of what is in the file: a line that is none, a refusal, a doubt. */
static int batch_exit(const struct batch *b)
{
    return b->faulty > 0    ? EXIT_CONFIG
           : b->refused > 0 ? EXIT_NO
           : b->unknown > 0 ? EXIT_CANNOT_TELL
                            : EXIT_DONE;
}

int explain_batch(const struct policy *p, const char *path, bool json)
{
    struct batch b = {.policy = p, .path = path, .json = json};
    static char line[LINE_MAX_BYTES];
    struct explain_case c;
    struct explain_answer answer;
    int code = open_file(&b);
    if (code != EXIT_DONE)
        return code;
    bool ok = true;
    while (ok && next_case(&b, line, &c)) {
        explain_judge(p, &c.request, &answer);
        count(&b, answer.walk.outcome);
        ok = json ? print_json(&b, &answer, NULL) : print_line(&b, &answer);
    }
    close_file(&b);
    if (!ok || fflush(stdout) != 0)
        return EXIT_IO;
    fprintf(stderr, "%zu allowed, %zu refused, %zu unknown\n", b.allowed, b.refused, b.unknown);
    return batch_exit(&b);
}

static bool test_one(struct batch *b, const struct explain_case *c)
{
    struct explain_answer answer;
    struct buf difference;
    bool ok = true;
    explain_judge(b->policy, &c->request, &answer);
    count(b, answer.walk.outcome);
    buf_init(&difference, DIFFERENCE_MAX);
    explain_case_compare(c, &answer, &difference);
    bool differs = buf_span(&difference).n > 0;
    b->failed += differs;
    if (b->json)
        ok = print_json(b, &answer, buf_cstr(&difference));
    else if (differs)
        ok = printf("%s:%u: %s\n", b->path, b->line, buf_cstr(&difference)) >= 0;
    buf_deinit(&difference);
    return ok;
}

int explain_test(const struct policy *p, const char *path, bool json)
{
    struct batch b = {.policy = p, .path = path, .json = json};
    static char line[LINE_MAX_BYTES];
    struct explain_case c;
    int code = open_file(&b);
    if (code != EXIT_DONE)
        return code;
    bool ok = true;
    while (ok && next_case(&b, line, &c)) {
        if (!c.expects)
            fault(&b, "nothing is expected: a -> is missing");
        else
            ok = test_one(&b, &c);
    }
    close_file(&b);
    size_t all = b.allowed + b.refused + b.unknown;
    if (!ok || (!json && printf("%zu passed, %zu failed\n", all - b.failed, b.failed) < 0))
        return EXIT_IO;
    return b.faulty > 0 ? EXIT_CONFIG : b.failed > 0 ? EXIT_NO : EXIT_DONE;
}
