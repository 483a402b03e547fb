/* text.h - UTF-8 inside, UTF-16 outside: the words, the file names and the error texts of Windows.
 * Threads: any. */
#ifndef POSTERN_WIN32_TEXT_H
#define POSTERN_WIN32_TEXT_H

#include "base/compiler.h"
#include "base/err.h"
#include "platform/paths.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wchar.h>

enum { SYSTEM_TEXT_MAX = 256 };

/* Both: false (and an empty text) when it does not fit or is not well-formed; the last error is set
 * then. size counts characters, the NUL with them. */
MUST_USE bool text_to_wide(const char *utf8, wchar_t *out, size_t size);
MUST_USE bool text_from_wide(const wchar_t *wide, char *out, size_t size);

/* A file's name for the wide calls: absolute, with backslashes; a long one with \\?\ in front,
 * since without it 260 characters are the limit. */
struct wide_path {
    wchar_t text[PATH_TEXT_MAX + 8];
};
MUST_USE bool path_to_wide(const char *path, struct wide_path *out);

/* What Windows says of one of its error numbers, in English where it has it, on one line, with the
 * number: "Access is denied. (5)". */
const char *system_text(uint32_t code, char out[SYSTEM_TEXT_MAX]);

/* Will waiting make it better? */
enum err_class system_class(uint32_t code);

/* "CALL: what Windows says", for a failed call; reads the last error. Returns false. */
bool call_failed(struct err *e, const char *call);
/* "object: cannot act: what Windows says", as the files of posix/ say it. Returns false. */
bool act_failed(struct err *e, const char *object, const char *act);

#endif
