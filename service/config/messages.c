#include "config/messages.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file of nonsense gives a message a value; nobody reads more than these. */
enum { MESSAGES_BYTES_MAX = 4 * 1024 * 1024, MESSAGES_MAX = 1000, MESSAGE_TEXT_MAX = 1024 };

void config_messages_init(struct config_messages *m)
{
    *m = (struct config_messages){0};
    arena_init(&m->arena, MESSAGES_BYTES_MAX);
}

void config_messages_deinit(struct config_messages *m)
{
    free(m->items);
    arena_deinit(&m->arena);
    *m = (struct config_messages){0};
}

static bool grow(struct config_messages *m)
{
    if (m->count < m->capacity)
        return true;
    if (m->count >= MESSAGES_MAX)
        return false;
    size_t capacity = m->capacity == 0 ? 16 : 2 * m->capacity;
    struct config_message *items = realloc(m->items, capacity * sizeof *items);
    if (items == NULL)
        return false;
    m->items = items;
    m->capacity = capacity;
    return true;
}

void config_messages_add(struct config_messages *m, enum config_severity severity, const char *file,
                         struct config_pos at, const char *key, const char *format, ...)
{
    *(severity == CONFIG_ERROR ? &m->errors : &m->warnings) += 1;
    char text[MESSAGE_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct config_message message = {.severity = severity,
                                     .file = arena_str(&m->arena, file),
                                     .at = at,
                                     .key = arena_str(&m->arena, key),
                                     .text = arena_str(&m->arena, text),
                                     .order = m->count};
    if (message.file == NULL || message.key == NULL || message.text == NULL || !grow(m))
        return; /* counted, at least */
    m->items[m->count++] = message;
}

static int compare(const void *left, const void *right)
{
    const struct config_message *a = left, *b = right;
    int by_file = strcmp(a->file, b->file);
    if (by_file != 0)
        return by_file;
    if (a->at.line != b->at.line)
        return a->at.line < b->at.line ? -1 : 1;
    if (a->at.column != b->at.column)
        return a->at.column < b->at.column ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

void config_messages_sort(struct config_messages *m)
{
    if (m->count > 1)
        qsort(m->items, m->count, sizeof *m->items, compare);
}

bool config_message_format(const struct config_message *message, struct buf *out)
{
    bool ok = buf_add_str(out, message->file);
    if (message->at.line > 0)
        ok = ok && buf_addf(out, ":%u:%u", message->at.line, message->at.column);
    ok = ok && buf_add_str(out, message->severity == CONFIG_WARNING ? ": warning: " : ": ");
    if (message->key[0] != '\0')
        ok = ok && buf_addf(out, "%s: ", message->key);
    return ok && buf_add_str(out, message->text);
}
