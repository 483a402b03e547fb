#include "commands/access.h"

#include "commands/service_call.h"
#include "config/edit.h"
#include "config/yaml.h"
#include "platform/durable_file.h"
#include "platform/files.h"
#include "platform/paths.h"

#include <string.h>

enum { FILE_MAX = 4 * 1024 * 1024 };

/* One change after the other on the text; nothing is written before all of them are made. */
struct change {
    const char *path;   /* of the configuration */
    const char *key;    /* "access.relay.list" */
    struct buf bytes;   /* as they are on disk */
    struct buf text[2]; /* before and after one step, by turns */
    unsigned now;       /* which of them stands */
    struct policy *policy;
    size_t done;
};

static const struct config_list *list_of(const struct policy *p, const char *key)
{
    const struct config_access *a = &p->config->access;
    return strcmp(key, "access.relay.list") == 0 ? &a->relay.list : &a->connection.list;
}

/* The policy of these bytes; messages say why not. */
static int parse(const char *path, struct span text, struct policy **out)
{
    struct config_messages m;
    config_messages_init(&m);
    enum config_result result = policy_parse(path, text, NULL, out, &m);
    command_print_messages(&m, CONFIG_ERROR, stderr);
    config_messages_deinit(&m);
    return command_config_exit(result);
}

static int read_file(struct change *c)
{
    struct files_info info;
    struct err e = {0};
    enum files_result found = files_stat(c->path, &info, &e);
    if (found == FILES_OK && !info.regular)
        found =
            err_set(&e, ERR_PERM, "%s is no regular file: name the file itself with -c", c->path)
                ? FILES_OK
                : FILES_FAILED;
    if (found == FILES_OK)
        found = files_read(c->path, FILE_MAX, &c->bytes, &e);
    if (found != FILES_OK) {
        fprintf(stderr, "postern access: %s\n", found == FILES_ABSENT ? "no such file" : e.text);
        return found == FILES_ABSENT ? EXIT_NO_INPUT : EXIT_IO;
    }
    struct span s = buf_span(&c->bytes);
    if (s.n >= 2 && (s.p[0] >= 0xfe || s.p[0] == 0 || s.p[1] == 0)) {
        fprintf(stderr, "postern access: %s: only UTF-8 can be edited in place\n", c->path);
        return EXIT_CONFIG;
    }
    buf_add(&c->text[0], s);
    return parse(c->path, s, &c->policy);
}

static size_t find(const struct config_list *list, const char *entry)
{
    size_t i = 0;
    while (i < list->count && !span_is_nocase(span_str(list->items[i].text), entry))
        i++;
    return i;
}

static bool is_text(const char *entry)
{
    for (const char *c = entry; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    return entry[0] != '\0';
}

/* The same list but for this one entry, and nothing else changed. */
static bool as_meant(const struct change *c, const struct policy *after, const char *entry,
                     size_t index, bool add)
{
    const struct config_list *a = list_of(c->policy, c->key), *b = list_of(after, c->key);
    if (b->count != a->count + (add ? 1 : 0) - (add ? 0 : 1))
        return false;
    for (size_t i = 0; i < b->count; i++) {
        size_t from = add || i < index ? i : i + 1;
        const char *expected = from < a->count ? a->items[from].text : entry;
        if (strcmp(b->items[i].text, expected) != 0)
            return false;
    }
    return config_edit_same(c->policy->config->tree, after->config->tree, c->key);
}

static int step(struct change *c, const char *entry, bool add)
{
    const struct config_list *list = list_of(c->policy, c->key);
    size_t index = find(list, entry);
    struct span text = buf_span(&c->text[c->now]);
    struct buf *out = &c->text[1 - c->now];
    struct policy *after = NULL;
    struct err e = {0};
    if (!is_text(entry)) {
        fprintf(stderr, "postern access: an entry that is empty or has control characters\n");
        return EXIT_USAGE;
    }
    if (add && index < list->count) {
        printf("%s is in %s already (%s:%u)\n", entry, c->key, c->path, list->items[index].at.line);
        return EXIT_DONE;
    }
    if (!add && index == list->count) {
        fprintf(stderr, "postern access: %s is not in %s\n", entry, c->key);
        return EXIT_NO;
    }
    buf_reset(out);
    const struct yaml_node *tree = c->policy->config->tree;
    bool edited = add ? config_edit_add(text, tree, c->key, entry, out, &e)
                      : config_edit_remove(text, tree, c->key, index, out, &e);
    if (!edited) {
        fprintf(stderr, "postern access: %s: %s: %s\n", c->path, c->key, e.text);
        return EXIT_CONFIG;
    }
    int code = parse(c->path, buf_span(out), &after);
    if (code != EXIT_DONE)
        return add ? EXIT_USAGE : code; /* the file was valid before: it is the entry */
    if (!as_meant(c, after, entry, index, add)) {
        fprintf(stderr, "postern access: %s: cannot be edited in place, change %s by hand\n",
                c->path, c->key);
        policy_unref(&after);
        return EXIT_INTERNAL;
    }
    policy_unref(&c->policy);
    c->policy = after;
    c->now = 1 - c->now;
    c->done++;
    printf("%s %s %s\n", entry, add ? "added to" : "removed from", c->key);
    return EXIT_DONE;
}

static int refuse_open_relay(const struct change *c)
{
    struct acl_reason why;
    if (c->policy->config->access.i_know_this_is_an_open_relay ||
        !policy_is_open_relay(c->policy, &why))
        return EXIT_DONE;
    fprintf(stderr, "postern access: nothing is changed: it would be an open relay: %s\n", why.why);
    return EXIT_NO;
}

/* With the file's mode and owner; not when somebody else has changed it meanwhile. */
static int write_file(struct change *c)
{
    struct durable_file f;
    struct files_info info;
    struct buf again;
    struct err e = {0};
    char folder[PATH_TEXT_MAX];
    bool ok = files_stat(c->path, &info, &e) == FILES_OK;
    buf_init(&again, FILE_MAX);
    if (ok && files_read(c->path, FILE_MAX, &again, &e) == FILES_OK &&
        !span_equal(buf_span(&again), buf_span(&c->bytes)))
        ok = err_set(&e, ERR_TEMP, "%s has been changed meanwhile, nothing is written", c->path);
    buf_deinit(&again);
    ok = ok && (paths_folder(c->path, folder, sizeof folder) ||
                err_set(&e, ERR_PERM, "%s: name too long", c->path));
    ok = ok && durable_file_begin(&f, folder, info.mode != 0 ? info.mode : 0644, &e);
    if (ok && !(files_own_like(f.temporary, c->path, &e) &&
                durable_file_add(&f, buf_span(&c->text[c->now]), &e))) {
        durable_file_abort(&f);
        ok = false;
    }
    ok = ok && durable_file_commit(&f, c->path, true, &e);
    if (!ok)
        fprintf(stderr, "postern access: %s\n", e.text);
    return ok ? EXIT_DONE : EXIT_IO;
}

static int reload(const struct change *c)
{
    json_t *result = NULL;
    int code;
    enum service_call call =
        service_call("access", c->policy, json_pack("{s:s}", "command", "reload"), &result, &code);
    json_decref(result);
    if (call == SERVICE_ABSENT)
        printf("%s written; no service runs on %s\n", c->path, c->policy->data_directory);
    if (call == SERVICE_ABSENT)
        return EXIT_DONE;
    if (call == SERVICE_ANSWERED)
        printf("%s written and reloaded: it holds for the next connection, and for sessions from "
               "their next MAIL on\n",
               c->path);
    else
        fprintf(stderr, "postern access: %s is written, but the service did not take it over\n",
                c->path);
    return code;
}

static int change_all(struct change *c, const struct access_request *r, bool add)
{
    int code = read_file(c);
    for (size_t i = 1; code == EXIT_DONE && i < r->count; i++)
        code = step(c, r->operands[i], add);
    if (code != EXIT_DONE || c->done == 0)
        return code;
    code = refuse_open_relay(c);
    if (code == EXIT_DONE)
        code = write_file(c);
    return code == EXIT_DONE ? reload(c) : code;
}

int access_change(const struct access_request *r, bool add)
{
    struct change c = {.path = r->config != NULL ? r->config : paths_default_config()};
    if (strcmp(r->operands[0], "connection") == 0)
        c.key = "access.connection.list";
    else if (strcmp(r->operands[0], "relay") == 0)
        c.key = "access.relay.list";
    else {
        fprintf(stderr, "postern access: \"%s\", expected connection or relay\n", r->operands[0]);
        return EXIT_USAGE;
    }
    buf_init(&c.bytes, FILE_MAX);
    buf_init(&c.text[0], FILE_MAX);
    buf_init(&c.text[1], FILE_MAX);
    int code = change_all(&c, r, add);
    policy_unref(&c.policy);
    buf_deinit(&c.bytes);
    buf_deinit(&c.text[0]);
    buf_deinit(&c.text[1]);
    return code;
}
