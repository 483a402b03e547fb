/* explain_case.h - cases in a file, a line each: what `postern explain --batch` asks and `--test`
 * compares. docs/administration.md describes the form for administrators:
 *
 *   [case] client=IP|pickup [host=NAME[,NAME]|none|failed] [user=U] [tls=yes|no] [listener=ADDR|N]
 *          [counted=client.messages:60,...]
 *          from=A to=B [-> allowed|refused|unknown [stage=S] [rule=R] [entry=E] [line=N]
 * [reply=TEXT] [change~ WORDS]]
 *
 * Words are parted by spaces; one within "double quotes" is no end. `#` begins a comment line.
 * Owner: the caller's structs; what they point to lies in the line, which is changed. */
#ifndef POSTERN_COMMANDS_EXPLAIN_CASE_H
#define POSTERN_COMMANDS_EXPLAIN_CASE_H

#include "commands/explain_facts.h"

enum { EXPLAIN_CASE_NAMES_MAX = 8 };

struct explain_case {
    struct explain_request request;
    struct span names[EXPLAIN_CASE_NAMES_MAX];
    bool expects;                                                       /* there is a `->` */
    const char *verdict, *stage, *rule, *entry, *line, *reply, *change; /* NULL: not compared */
};

/* False with what is wrong with the line. *empty: nothing but a comment. */
bool explain_case_parse(const struct policy *p, char *line, struct explain_case *out, bool *empty,
                        struct err *e);

/* What differs from what was expected, as "rule is access.relay, expected domains[0]"; "" =
 * nothing. */
void explain_case_compare(const struct explain_case *c, const struct explain_answer *answer,
                          struct buf *out);

/* --batch and --test: every line of the file ("-": standard input) to stdout; the exit code. */
int explain_batch(const struct policy *p, const char *path, bool json);
int explain_test(const struct policy *p, const char *path, bool json);

#endif
