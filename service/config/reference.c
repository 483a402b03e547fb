#include "config/schema.h"

#include "config/value.h"

#include <stdio.h>
#include <string.h>

static void add_escaped(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            buf_add_byte(out, '\\');
        buf_add_byte(out, (uint8_t)*text);
    }
}

static void add_range(struct buf *out, const struct schema_option *o)
{
    for (int i = 0; i < 2; i++) {
        uint64_t v = i == 0 ? o->min : o->max;
        buf_add_str(out, i == 0 ? " " : " to ");
        if (o->type == SCHEMA_DURATION || o->type == SCHEMA_DURATIONS)
            value_format_duration(v, out);
        else if (o->type == SCHEMA_SIZE)
            value_format_size(v, out);
        else
            buf_addf(out, "%llu", (unsigned long long)v);
    }
}

static void add_values(struct buf *out, const struct schema_option *o)
{
    switch (o->type) {
    case SCHEMA_SECTION:
    case SCHEMA_ITEMS: buf_add_str(out, "section"); break;
    case SCHEMA_BOOL:
    case SCHEMA_TRISTATE: buf_add_str(out, "true, false"); break;
    case SCHEMA_TEXT: buf_add_str(out, "text"); break;
    case SCHEMA_HOST: buf_add_str(out, "host name"); break;
    case SCHEMA_DOMAIN: buf_add_str(out, "domain"); break;
    case SCHEMA_MAILBOX: buf_add_str(out, "mail address"); break;
    case SCHEMA_COUNT: buf_add_str(out, "number"); break;
    case SCHEMA_DURATION: buf_add_str(out, "duration"); break;
    case SCHEMA_SIZE: buf_add_str(out, "size"); break;
    case SCHEMA_ENDPOINT: buf_add_str(out, "address:port"); break;
    case SCHEMA_HOP: buf_add_str(out, "host, host:port, [address], [address]:port"); break;
    case SCHEMA_LIST: buf_add_str(out, "list"); break;
    case SCHEMA_DURATIONS: buf_add_str(out, "list of durations"); break;
    case SCHEMA_WORDS: buf_add_str(out, "list of "); break;
    case SCHEMA_WORD: break;
    }
    for (size_t i = 0; o->words != NULL && o->words[i] != NULL; i++)
        buf_addf(out, "%s%s%s", i > 0 ? ", " : "", o->words[i],
                 (o->later_words >> i & 1u) != 0 ? " (later)" : "");
    if (o->max > 0)
        add_range(out, o);
}

static void add_default(struct buf *out, const struct schema_option *o)
{
    if ((o->flags & SCHEMA_REQUIRED) != 0)
        buf_add_str(out, "must be given");
    else if (o->value == NULL)
        buf_add_str(out, "");
    else if (o->type == SCHEMA_LIST || o->type == SCHEMA_WORDS || o->type == SCHEMA_DURATIONS)
        buf_addf(out, "`[%s]`", o->value);
    else
        buf_addf(out, o->value[0] == '\0' ? "`\"\"`" : "`%s`", o->value);
}

static void add_iis(struct buf *out, const struct schema_option *o)
{
    if (o->iis != NULL) {
        buf_add_str(out, " (IIS: *");
        add_escaped(out, o->iis);
        buf_add_str(out, "*)");
    }
}

static void add_help(struct buf *out, const struct schema_option *o)
{
    add_escaped(out, o->help);
    if ((o->flags & SCHEMA_LATER) != 0)
        buf_add_str(out, " **Known, but not in this version.**");
    add_iis(out, o);
}

/* A heading for a section, then the table of the options right below it. */
static void add_section(struct buf *out, const struct schema_option *section)
{
    char prefix[128];
    bool items = section->type == SCHEMA_ITEMS, rows = false;
    (void)snprintf(prefix, sizeof prefix, "%s%s.", section->path, items ? "[]" : "");
    bool top = strchr(section->path, '.') == NULL;
    buf_addf(out, "\n%s `%s`\n\n", top ? "##" : "###", section->path);
    if (items)
        buf_add_str(out, "A list of mappings. ");
    add_help(out, section);
    buf_add_str(out, "\n");
    for (size_t i = 0; i < schema_option_count; i++) {
        const struct schema_option *o = &schema_options[i];
        bool table = o->type != SCHEMA_SECTION && o->type != SCHEMA_ITEMS;
        if (!table || !schema_is_child(o, span_str(prefix)))
            continue;
        if (!rows)
            buf_add_str(out, "\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
        rows = true;
        buf_addf(out, "| `%s` | ", o->path + strlen(prefix));
        add_values(out, o);
        buf_add_str(out, " | ");
        add_default(out, o);
        buf_add_str(out, " | ");
        add_help(out, o);
        buf_add_str(out, " |\n");
    }
}

static const char opening[] =
    "# Configuration reference\n"
    "\n"
    "<!-- Made by `postern config-reference` from the table in service/config/schema.c. Change it\n"
    "there. -->\n"
    "\n"
    "One YAML file, the same on every system: `/etc/postern/postern.yaml`, on Windows\n"
    "`%ProgramData%\\Postern\\postern.yaml`; `-c FILE` names another. `postern check` says what "
    "is\n"
    "wrong with it, every error with its line and column, and reviews what is right.\n"
    "\n"
    "- An unknown key is an error. A key that is left out has the default below.\n"
    "- Switches are `true` and `false`; `yes`, `no`, `on` and `off` are refused.\n"
    "- Durations carry a unit: `500ms`, `10s`, `15m`, `12h`, `2d`. Sizes are bytes or powers of\n"
    "  1024: `500`, `64K`, `25M`, `1G`.\n"
    "- Anchors, aliases, tags and a second document are refused.\n"
    "- Relative file names are taken from the folder of the configuration file. Where a file is\n"
    "  named, `credential:NAME` is one that the service manager hands to the service alone: see\n"
    "  [keys that only root may read](install-debian.md#keys-that-only-root-may-read).\n"
    "- Passwords never stand in this file; `password_file` names a file whose first line is one.\n";

bool schema_reference(struct buf *out)
{
    buf_add_str(out, opening);
    for (size_t i = 0; i < schema_option_count; i++) {
        enum schema_type type = schema_options[i].type;
        if (type == SCHEMA_SECTION || type == SCHEMA_ITEMS)
            add_section(out, &schema_options[i]);
    }
    return !out->failed;
}
