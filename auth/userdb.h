/* userdb.h - users.db, the embedded user database (SQLite).
 * It holds names and SCRAM-SHA-256 verifiers, no password and nothing that serves as one
 * (docs/decisions: no CRAM-MD5).
 * Owner: auth.c in the service, `postern user` beside it; both may be open at once (WAL, busy
 * timeout). Threads: any; a handle guards itself and derives keys outside of its lock.
 * Failure: ERR_PERM = refused, see enum userdb_result; ERR_TEMP = the file cannot be used now. */
#ifndef POSTERN_AUTH_USERDB_H
#define POSTERN_AUTH_USERDB_H

#include "auth/backend.h"
#include "base/err.h"

enum { USERDB_NAME_MAX = 255, USERDB_PASSWORD_MAX = 1024 };

enum userdb_result {
    USERDB_DONE,
    USERDB_EXISTS,
    USERDB_UNKNOWN,
    USERDB_BAD_NAME,     /* empty, too long, control bytes, not UTF-8, a backslash, outer spaces */
    USERDB_BAD_PASSWORD, /* empty, too long, control bytes, not UTF-8 */
    USERDB_FAILED,       /* e says why */
};

struct userdb;

/* Opens the file; makes it (mode 0600, with the owner of its directory when we are root) if absent
 * and create is set. Without create a missing file is ERR_PERM. */
bool userdb_open(const char *path, bool create, struct userdb **db, struct err *e);
void userdb_close(struct userdb **db);

/* ASCII letters become lower case, all else stays; out has USERDB_NAME_MAX + 1 bytes. False for a
 * name that no account can have. */
bool userdb_normalise(struct span name, char *out);
/* 1 to USERDB_PASSWORD_MAX bytes of UTF-8 without control characters. */
bool userdb_password_ok(struct span password);

/* Each fills e for every result but USERDB_DONE. iterations: at least AUTH_ITERATIONS_LEAST. */
enum userdb_result userdb_add(struct userdb *db, const char *name, struct span password,
                              uint32_t iterations, struct err *e);
enum userdb_result userdb_passwd(struct userdb *db, const char *name, struct span password,
                                 uint32_t iterations, struct err *e);
enum userdb_result userdb_remove(struct userdb *db, const char *name, struct err *e);
enum userdb_result userdb_set_disabled(struct userdb *db, const char *name, bool disabled,
                                       struct err *e);

struct userdb_entry {
    char name[USERDB_NAME_MAX + 1];
    bool disabled;
    uint64_t version; /* never used twice, not even by an account that was removed and made again */
    int64_t changed_wall_ms;
    struct scram_verifier verifier; /* not filled by userdb_list */
};

/* USERDB_DONE and *entry, or USERDB_UNKNOWN, or USERDB_FAILED. name: normalised. */
enum userdb_result userdb_get(struct userdb *db, const char *name, struct userdb_entry *entry,
                              struct err *e);
/* In the order of their names; stops and returns true when each() returns false. */
bool userdb_list(struct userdb *db, bool (*each)(void *context, const struct userdb_entry *entry),
                 void *context, struct err *e);

/* What an account that does not exist would have: made from the file's own random secret and the
 * name, with the iterations that most accounts have (`iterations` while there is none). */
bool userdb_decoy(struct userdb *db, const char *name, uint32_t iterations,
                  struct scram_verifier *v, struct err *e);

#endif
