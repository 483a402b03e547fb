#include "win32/text.h"

#include <windows.h>

#include <stdio.h>
#include <string.h>

bool text_to_wide(const char *utf8, wchar_t *out, size_t size)
{
    int room = size > INT_MAX ? INT_MAX : (int)size;
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, utf8, -1, out, room) > 0)
        return true;
    if (size > 0)
        out[0] = 0;
    return false;
}

bool text_from_wide(const wchar_t *wide, char *out, size_t size)
{
    int room = size > INT_MAX ? INT_MAX : (int)size;
    if (WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, wide, -1, out, room, NULL, NULL) > 0)
        return true;
    if (size > 0)
        out[0] = 0;
    return false;
}

bool path_to_wide(const char *path, struct wide_path *out)
{
    enum { SHORT_ENOUGH = 240 }; /* MAX_PATH less what a folder must leave for names in it */
    wchar_t given[PATH_TEXT_MAX];
    out->text[0] = 0;
    if (!text_to_wide(path, given, sizeof given / sizeof *given))
        return false;
    if (given[0] == 0) {
        SetLastError(ERROR_PATH_NOT_FOUND);
        return false;
    }
    DWORD n = GetFullPathNameW(given, PATH_TEXT_MAX, out->text, NULL);
    if (n == 0 || n >= PATH_TEXT_MAX) {
        out->text[0] = 0;
        if (n != 0)
            SetLastError(ERROR_FILENAME_EXCED_RANGE);
        return false;
    }
    if (n < SHORT_ENOUGH || wcsncmp(out->text, L"\\\\?\\", 4) == 0 ||
        wcsncmp(out->text, L"\\\\.\\", 4) == 0)
        return true;
    bool share = wcsncmp(out->text, L"\\\\", 2) == 0; /* \\server\share -> \\?\UNC\server\share */
    const wchar_t *front = share ? L"\\\\?\\UNC" : L"\\\\?\\";
    size_t skip = share ? 1 : 0, length = wcslen(front);
    memmove(out->text + length, out->text + skip, (n - skip + 1) * sizeof *out->text);
    memcpy(out->text, front, length * sizeof *front);
    return true;
}

const char *system_text(uint32_t code, char out[SYSTEM_TEXT_MAX])
{
    static const DWORD languages[] = {MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US), 0};
    wchar_t wide[SYSTEM_TEXT_MAX];
    DWORD n = 0;
    for (size_t i = 0; n == 0 && i < sizeof languages / sizeof *languages; i++)
        n = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS |
                               FORMAT_MESSAGE_MAX_WIDTH_MASK,
                           NULL, code, languages[i], wide, SYSTEM_TEXT_MAX, NULL);
    while (n > 0 && (wide[n - 1] == L' ' || wide[n - 1] == L'\n' || wide[n - 1] == L'\r'))
        wide[--n] = 0;
    char text[SYSTEM_TEXT_MAX] = "";
    if (n == 0 || !text_from_wide(wide, text, sizeof text))
        (void)snprintf(text, sizeof text, "error");
    (void)snprintf(out, SYSTEM_TEXT_MAX, "%s (%lu)", text, (unsigned long)code);
    return out;
}

enum err_class system_class(uint32_t code)
{
    switch (code) {
    case ERROR_ACCESS_DENIED:
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_PATHNAME:
    case ERROR_DIRECTORY:
    case ERROR_ALREADY_EXISTS:
    case ERROR_FILE_EXISTS:
    case ERROR_NOT_SAME_DEVICE:
    case ERROR_WRITE_PROTECT:
    case ERROR_FILENAME_EXCED_RANGE:
    case ERROR_NO_UNICODE_TRANSLATION:
    case ERROR_INSUFFICIENT_BUFFER:
    case ERROR_PRIVILEGE_NOT_HELD:
    case ERROR_CANT_RESOLVE_FILENAME: return ERR_PERM;
    default: return ERR_TEMP;
    }
}

bool call_failed(struct err *e, const char *call)
{
    DWORD code = GetLastError();
    char text[SYSTEM_TEXT_MAX];
    return err_set(e, system_class(code), "%s: %s", call, system_text(code, text));
}

bool act_failed(struct err *e, const char *object, const char *act)
{
    DWORD code = GetLastError();
    char text[SYSTEM_TEXT_MAX];
    return err_set(e, system_class(code), "%s: cannot %s: %s", object, act,
                   system_text(code, text));
}
