/* import.h - a configuration of Postern out of the settings of an IIS SMTP virtual server, and a
 * report with a line for each property: taken over, changed (and why), or needs you.
 * What is not certain is imported closed: a list that cannot be read lets nobody in, a domain whose
 * type cannot be told is not local, and nothing that comes out is an open relay.
 * Source: docs/from-iis.md has the table of properties.
 * Owner: everything lives in the result until import_deinit; the metabase has to outlive it.
 * Threads: one. Failure: ERR_PERM when there is no such virtual server, ERR_TEMP without memory.
 * PURE: values in, values out. */
#ifndef POSTERN_IMPORT_IMPORT_H
#define POSTERN_IMPORT_IMPORT_H

#include "base/buf.h"
#include "import/metabase.h"

enum import_outcome { IMPORT_TAKEN, IMPORT_CHANGED, IMPORT_NEEDS_YOU };
enum { IMPORT_OUTCOMES = 3 };

struct import_line {
    enum import_outcome outcome;
    const char *place;    /* "server 1", "service", "domain partner.example" */
    const char *property; /* IIS's name */
    const char *value;    /* cut, free of control characters; "(not set)" */
    unsigned line;        /* in the file; 0 = nowhere */
    const char *text;     /* what became of it */
};

struct import_options {
    const char *input; /* named in the configuration's first comment */
    unsigned server;   /* 0: the first */
    /* The lists that were found would make an open relay: import the relay list closed. Whoever
     * builds a policy from the result finds that out and asks again with this set. */
    bool close_relay;
};

/* Another virtual server in the same file. */
struct import_other {
    unsigned number;
    const char *comment; /* ServerComment, cleaned; "" */
};

struct import_result {
    struct arena arena;
    unsigned server; /* which one it is; 0: the file has the service's settings alone */
    const char *comment;
    struct import_other *others;
    size_t other_count, other_capacity;
    struct import_line *lines;
    size_t line_count, line_capacity;
    size_t counts[IMPORT_OUTCOMES];
    struct buf yaml;
};

bool import_run(const struct metabase *m, const struct import_options *options,
                struct import_result *out, struct err *e);
void import_deinit(struct import_result *r);

/* "taken over", "changed", "needs you". */
const char *import_outcome_name(enum import_outcome outcome);

/* The report as text, a line each, what needs somebody last. */
bool import_report(const struct import_result *r, struct buf *out);

#endif
