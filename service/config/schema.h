/* schema.h - every option of the configuration, in one table: where it stands in the file, what it
 * may be, its default, where it goes in struct config, what it is for and what IIS called it.
 * The binder, the messages and docs/configuration.md all come from it; an option that is not here
 * does not exist. Order: the order of the reference. A path names keys with dots; `[]` stands
 * for an entry of a list of mappings, whose options are bound into the entry's own struct. */
#ifndef POSTERN_CONFIG_SCHEMA_H
#define POSTERN_CONFIG_SCHEMA_H

#include "config/config.h"

enum schema_type {
    SCHEMA_SECTION,   /* a mapping of further options */
    SCHEMA_ITEMS,     /* a list of mappings */
    SCHEMA_BOOL,      /* bool: true, false */
    SCHEMA_TRISTATE,  /* enum config_tristate: true, false, or left out */
    SCHEMA_TEXT,      /* const char *: any text */
    SCHEMA_HOST,      /* const char *: a host name */
    SCHEMA_DOMAIN,    /* const char *, lower case: a domain, or *.domain */
    SCHEMA_MAILBOX,   /* const char *: user@domain */
    SCHEMA_WORD,      /* enum: one of words */
    SCHEMA_COUNT,     /* uint64_t: a whole number */
    SCHEMA_DURATION,  /* uint64_t milliseconds: 500ms, 10s, 15m, 12h, 2d */
    SCHEMA_SIZE,      /* uint64_t bytes: 500, 64K, 25M, 1G */
    SCHEMA_ENDPOINT,  /* struct config_endpoint: address:port */
    SCHEMA_HOP,       /* struct config_hop: host, host:port, [address], [address]:port */
    SCHEMA_LIST,      /* struct config_list: texts */
    SCHEMA_WORDS,     /* struct config_list: each one of words */
    SCHEMA_DURATIONS, /* struct config_numbers: at least one duration */
};

enum {
    SCHEMA_REQUIRED = 1, /* of an entry: has to be there */
    SCHEMA_LATER = 2,    /* known, but what it needs is not in this version: a warning */
};

struct schema_option {
    const char *path;
    enum schema_type type;
    unsigned flags;
    size_t offset;    /* in struct config, or in the entry of the nearest `[]` */
    size_t item_size; /* of an entry, for SCHEMA_ITEMS */
    uint64_t min, max;
    const char *const *words;
    unsigned later_words; /* bit i: words[i] is known, but not in this version */
    const char *value;    /* the default as it would stand in the file; NULL = none */
    const char *help;
    const char *iis; /* the name an IIS administrator knows; NULL = none */
};

extern const struct schema_option schema_options[];
extern const size_t schema_option_count;

const struct schema_option *schema_find(struct span path);

/* Whether option is a direct child of the section or list whose path, with its dot, is prefix. */
bool schema_is_child(const struct schema_option *option, struct span prefix);

/* docs/configuration.md. */
bool schema_reference(struct buf *out);

#endif
