#include "net/hosts.h"

#include "platform/files.h"

#include <stdlib.h>
#include <string.h>

enum { HOSTS_FILE_MAX = 4 * 1024 * 1024, HOSTS_LOOK_MS = 5000 };

bool hosts_init(struct hosts *h, const char *path)
{
    *h = (struct hosts){.modified_wall_ms = -1};
    arena_init(&h->arena, 16 * (size_t)HOSTS_FILE_MAX);
    if (path == NULL || path[0] == 0)
        return true;
    size_t n = strlen(path) + 1;
    h->path = malloc(n);
    if (h->path != NULL)
        memcpy(h->path, path, n);
    return h->path != NULL;
}

static void forget(struct hosts *h)
{
    free(h->by_name);
    free(h->by_address);
    h->by_name = h->by_address = NULL;
    h->n = 0;
    arena_reset(&h->arena);
}

void hosts_deinit(struct hosts *h)
{
    forget(h);
    arena_deinit(&h->arena);
    free(h->path);
    h->path = NULL;
}

/* Equal keys stay in the order of the file. */
static int by_name(const void *a, const void *b)
{
    const struct hosts_entry *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->line > y->line) - (x->line < y->line);
}

static int by_address(const void *a, const void *b)
{
    const struct hosts_entry *x = a, *y = b;
    int order = netaddr_compare(&x->address, &y->address);
    return order != 0 ? order : (x->line > y->line) - (x->line < y->line);
}

static struct span next_word(struct span *line)
{
    size_t from = 0, to;
    while (from < line->n &&
           (line->p[from] == ' ' || line->p[from] == '\t' || line->p[from] == '\r'))
        from++;
    for (to = from;
         to < line->n && line->p[to] != ' ' && line->p[to] != '\t' && line->p[to] != '\r';)
        to++;
    struct span word = span_sub(*line, from, to - from);
    *line = span_from(*line, to);
    return word;
}

static bool add(struct hosts *h, size_t *cap, const struct netaddr *address, struct span name)
{
    if (h->n == *cap) {
        size_t grown = *cap == 0 ? 64 : *cap * 2;
        struct hosts_entry *bigger = realloc(h->by_name, grown * sizeof *bigger);
        if (bigger == NULL)
            return false;
        h->by_name = bigger;
        *cap = grown;
    }
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    char *copy = arena_span_str(&h->arena, name);
    if (copy == NULL)
        return false;
    ascii_lower_str(copy);
    h->by_name[h->n] = (struct hosts_entry){.name = copy, .address = *address, .line = h->n};
    h->n++;
    return true;
}

static void parse(struct hosts *h, struct span text)
{
    size_t cap = 0;
    while (text.n > 0) {
        size_t end = span_find(text, '\n');
        struct span line = span_sub(text, 0, end);
        text = span_from(text, end + 1);
        line = span_sub(line, 0, span_find(line, '#'));
        struct span word = next_word(&line);
        word = span_sub(word, 0, span_find(word, '%')); /* a zone: fe80::1%lo0 */
        struct netaddr address;
        if (!netaddr_parse(word, &address))
            continue;
        while ((word = next_word(&line)).n > 0)
            if (!add(h, &cap, &address, word))
                return;
    }
}

void hosts_refresh(struct hosts *h, uint64_t now_ms)
{
    struct files_info info;
    struct buf text;
    if (h->path == NULL || (h->looked_ms != 0 && now_ms - h->looked_ms < HOSTS_LOOK_MS))
        return;
    h->looked_ms = now_ms == 0 ? 1 : now_ms;
    if (files_stat(h->path, &info, NULL) != FILES_OK) {
        forget(h);
        h->modified_wall_ms = -1;
        return;
    }
    if (info.modified_wall_ms == h->modified_wall_ms && info.size == h->size)
        return;
    buf_init(&text, HOSTS_FILE_MAX);
    if (files_read(h->path, HOSTS_FILE_MAX, &text, NULL) == FILES_OK) {
        forget(h);
        parse(h, buf_span(&text));
        h->modified_wall_ms = info.modified_wall_ms;
        h->size = info.size;
        h->by_address = h->n == 0 ? NULL : malloc(h->n * sizeof *h->by_address);
        if (h->by_address == NULL) {
            forget(h);
        } else {
            memcpy(h->by_address, h->by_name, h->n * sizeof *h->by_address);
            qsort(h->by_name, h->n, sizeof *h->by_name, by_name);
            qsort(h->by_address, h->n, sizeof *h->by_address, by_address);
        }
    }
    buf_deinit(&text);
}

/* The first index whose key is not less than the probe, where `line` 0 comes first. */
static size_t lower_bound(const struct hosts_entry *list, size_t n, const struct hosts_entry *probe,
                          int (*compare)(const void *, const void *))
{
    size_t low = 0;
    while (n > 0) {
        size_t half = n / 2;
        if (compare(&list[low + half], probe) < 0) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

const struct hosts_entry *hosts_of_name(const struct hosts *h, const char *name, size_t *n)
{
    static const struct hosts_entry loopback[] = {
        {"localhost", {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}, 0},
        {"localhost", {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}}, 1}};
    struct hosts_entry probe = {.name = name};
    size_t from = lower_bound(h->by_name, h->n, &probe, by_name), to = from;
    while (to < h->n && strcmp(h->by_name[to].name, name) == 0)
        to++;
    *n = to - from;
    if (*n > 0)
        return &h->by_name[from];
    if (strcmp(name, "localhost") != 0 && !span_ends_nocase(span_str(name), ".localhost"))
        return NULL;
    *n = 2;
    return loopback;
}

const struct hosts_entry *hosts_of_address(const struct hosts *h, const struct netaddr *a,
                                           size_t *n)
{
    struct hosts_entry probe = {.address = *a};
    size_t from = lower_bound(h->by_address, h->n, &probe, by_address), to = from;
    while (to < h->n && netaddr_equal(&h->by_address[to].address, a))
        to++;
    *n = to - from;
    return *n > 0 ? &h->by_address[from] : NULL;
}
