/* directory_groups.h - is who was bound in one of these groups? Asked as himself, over his own
 * connection, so that the service needs no account of its own.
 * Active Directory: his tokenGroups, which the controller computes (nested groups and the primary
 * one are in it), against the SIDs of the groups by sAMAccountName (a cn
 * may be there twice, in a part of the tree that somebody else administers).
 * Others: groups by cn that have him as member or uniqueMember (RFC 4519), or his account as
 * memberUid (RFC 2307); a group in a group is not looked into.
 * BLOCKS as long as the session's deadline lets it. */
#ifndef POSTERN_AUTH_DIRECTORY_GROUPS_H
#define POSTERN_AUTH_DIRECTORY_GROUPS_H

#include "auth/backend.h"
#include "platform/directory.h"

struct directory_person {
    const char *account;
    const char *dn;   /* NULL: the name that he was bound by is none */
    const char *base; /* where to look; "" = the directory's own root */
};

/* OK, NOT_ALLOWED, UNAVAILABLE. groups: at least one. */
enum backend_result directory_groups_check(struct directory_session *s,
                                           const struct directory_person *who,
                                           const struct backend_groups *groups,
                                           char reason[BACKEND_REASON_MAX]);

#endif
