#include "policy/lists.h"

#include "platform/files.h"

#include <string.h>

/* A list file is read whole: ten million addresses fit well. */
enum { LIST_FILE_MAX = 256 * 1024 * 1024, LIST_BATCH = 512 };

static bool is_file(struct span text)
{
    return span_starts_nocase(text, "file:");
}

bool lists_need_self(const struct config_list *entries)
{
    for (size_t i = 0; i < entries->count; i++) {
        struct span text = span_str(entries->items[i].text);
        if (is_file(text) || span_is_nocase(text, "self"))
            return true;
    }
    return false;
}

size_t lists_files(const struct config_list *entries)
{
    size_t n = 0;
    for (size_t i = 0; i < entries->count; i++)
        n += is_file(span_str(entries->items[i].text));
    return n;
}

/* Gives a batch to acl and turns its problems into messages. */
static bool add_batch(const struct lists_context *x, struct acl_list *list,
                      const struct acl_entry_source *entries, size_t n, const char *key)
{
    struct acl_problems problems;
    struct err e = {0};
    acl_problems_init(&problems);
    bool ok = acl_list_add(list, entries, n, &problems, &e);
    for (size_t i = 0; i < problems.n; i++)
        config_messages_add(x->m, CONFIG_ERROR, problems.v[i].file,
                            (struct config_pos){problems.v[i].line, problems.v[i].column}, key,
                            "%s", problems.v[i].text);
    if (!ok)
        config_messages_add(x->m, CONFIG_ERROR, x->config->path, (struct config_pos){0, 0}, key,
                            "%s", e.text);
    acl_problems_deinit(&problems);
    return ok;
}

/* What a line holds besides its comment: a `#` at the start of the line or behind a space, so that
 * a pattern may hold one. */
static struct span line_entry(struct span line)
{
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] == '#' && (i == 0 || line.p[i - 1] == ' ' || line.p[i - 1] == '\t'))
            line.n = i;
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    return span_trim(line);
}

static bool add_lines(const struct lists_context *x, struct acl_list *list, const char *path,
                      struct span text, const char *key)
{
    struct acl_entry_source batch[LIST_BATCH];
    size_t n = 0;
    unsigned number = 0;
    if (span_starts_nocase(text, "\xef\xbb\xbf"))
        text = span_from(text, 3); /* a byte order mark, as editors on Windows leave it */
    while (text.n > 0) {
        size_t end = span_find(text, '\n');
        struct span line = span_sub(text, 0, end), entry = line_entry(line);
        text = span_from(text, end + 1);
        number++;
        if (entry.n == 0)
            continue;
        if (is_file(entry)) {
            config_messages_add(x->m, CONFIG_ERROR, path, (struct config_pos){number, 1}, key,
                                "\"%.*s\": a list file cannot name a further one", SPAN_ARG(entry));
            continue;
        }
        unsigned column = (unsigned)(entry.p - line.p) + 1;
        batch[n++] = (struct acl_entry_source){entry, path, number, column};
        if (n == LIST_BATCH) {
            if (!add_batch(x, list, batch, n, key))
                return false;
            n = 0;
        }
    }
    return n == 0 || add_batch(x, list, batch, n, key);
}

static bool add_file(struct lists_context *x, struct acl_list *list,
                     const struct config_entry *entry, const char *key)
{
    const char *name = entry->text + strlen("file:");
    const char *path = config_file_path(x->config, x->arena, name);
    struct buf text;
    struct err e = {0};
    if (name[0] == '\0' || path == NULL) {
        config_messages_add(x->m, CONFIG_ERROR, x->config->path, entry->at, key,
                            "no usable name, expected file:NAME");
        return true;
    }
    x->files[x->file_count].path = path; /* first: what changes from here on is seen as a change */
    (void)policy_list_file_look(&x->files[x->file_count++]);
    buf_init(&text, LIST_FILE_MAX);
    enum files_result found = files_read(path, LIST_FILE_MAX, &text, &e);
    bool ok = true;
    if (found == FILES_OK)
        ok = add_lines(x, list, path, buf_span(&text), key);
    else
        config_messages_add(x->m, CONFIG_ERROR, x->config->path, entry->at, key,
                            "%s %s, expected a file with one entry a line", path,
                            found == FILES_ABSENT ? "does not exist" : "cannot be read");
    buf_deinit(&text);
    return ok;
}

bool lists_load(struct lists_context *x, const struct config_list *entries, const char *key,
                struct acl_list **list)
{
    *list = acl_list_new(x->self, x->self_count);
    bool ok = *list != NULL;
    for (size_t i = 0; ok && i < entries->count; i++) {
        const struct config_entry *entry = &entries->items[i];
        if (is_file(span_str(entry->text))) {
            ok = add_file(x, *list, entry, key);
            continue;
        }
        struct acl_entry_source one = {span_str(entry->text), x->config->path, entry->at.line,
                                       entry->at.column};
        ok = add_batch(x, *list, &one, 1, key);
    }
    struct err e = {0};
    if (ok && x->m->errors == 0 && !acl_list_seal(*list, &e)) {
        config_messages_add(x->m, CONFIG_ERROR, x->config->path, (struct config_pos){0, 0}, key,
                            "%s", e.text);
        ok = false;
    }
    if (!ok)
        acl_list_free(list);
    return ok;
}
