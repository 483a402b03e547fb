/* ip_list.h - the lists of IIS's connection and relay control, from the binary form that the
 * metabase keeps (IPSecurity, RelayIpList). The form is not documented; what is read here was found
 * in published samples, and everything is checked against the bytes that are there:
 *
 *     0x00  u32 x 4   0x80000000 | offset of the lists: denied addresses, granted addresses,
 *                     denied names, granted names (all numbers are little-endian)
 *     0x10  u32       1
 *     0x14  u32       where the data begin
 *     a list of addresses: u32 groups, u32 addresses, then for each group 20 bytes:
 *                     u32 family (2), u32 items (1 + addresses), u32 length (4), u32 0,
 *                     u32 0x80000000 | offset of its data: the mask, then the addresses, 4 bytes
 *                     each in network order
 *     a list of names: u32 0, u32 0 when empty. How names are laid out was never seen, so a list
 *                     that has some is told (names_unread), not guessed at.
 *
 * Owner: everything lives in the arena given. Threads: one. Failure: false, with the offset. */
#ifndef POSTERN_IMPORT_IP_LIST_H
#define POSTERN_IMPORT_IP_LIST_H

#include "base/arena.h"
#include "base/err.h"

enum {
    IP_LIST_ENTRIES_MAX = 10000, /* in all; far more than IIS's dialogue can be filled with */
    IP_LIST_BYTES_MAX = 1024 * 1024,
};

/* Numbers in host order: 10.1.0.0 and 255.255.0.0. */
struct ip_entry {
    uint32_t address, mask;
};
struct ip_entries {
    struct ip_entry *items;
    size_t count, capacity;
};
struct ip_names {
    const char **items;
    size_t count, capacity;
};

/* What IIS does with a client that no entry holds. The binary form does not say. */
enum ip_default { IP_DEFAULT_UNSAID, IP_DEFAULT_GRANT, IP_DEFAULT_REFUSE };

struct ip_list {
    struct ip_entries granted, denied;
    struct ip_names granted_names, denied_names; /* of the exporter's JSON only */
    bool granted_names_unread, denied_names_unread;
    enum ip_default by_default;
};

bool ip_list_parse(struct arena *a, struct span bytes, struct ip_list *out, struct err *e);
/* From hexadecimal digits of either case, as MetaBase.xml has them. */
bool ip_list_parse_hex(struct arena *a, struct span digits, struct ip_list *out, struct err *e);

bool ip_entries_add(struct arena *a, struct ip_entries *entries, struct ip_entry entry);
bool ip_names_add(struct arena *a, struct ip_names *names, const char *name);

/* Ones followed by zeros; *bits is their number. */
bool ip_mask_bits(uint32_t mask, unsigned *bits);
/* Whether some address is held by both. */
bool ip_entries_overlap(struct ip_entry a, struct ip_entry b);
/* "10.1.0.0" */
enum { IP_TEXT_MAX = 16 };
void ip_format(uint32_t address, char *out);
/* "10.1.0.0"; four decimal parts and nothing else. */
bool ip_parse(struct span text, uint32_t *address);

#endif
