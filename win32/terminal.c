#include "platform/terminal.h"

#include "win32/text.h"

#include <windows.h>

#include <string.h>

enum { LINE_MAX_BYTES = 4096 };

/* Byte by byte: what follows the line belongs to whoever reads next. */
static bool read_line(HANDLE from, size_t max, struct secret *out, struct err *e)
{
    uint8_t line[LINE_MAX_BYTES];
    size_t n = 0;
    bool ended = false, ok = false;
    if (max > sizeof line)
        max = sizeof line;
    while (!ended) {
        uint8_t byte;
        DWORD got = 0;
        bool read = ReadFile(from, &byte, 1, &got, NULL) && got == 1;
        if (!read && n == 0) {
            (void)err_set(e, ERR_PERM, "input: no line to read");
            goto done;
        }
        if (!read || byte == '\n') {
            ended = true;
            if (read && n > 0 && line[n - 1] == '\r')
                n--;
        } else if (n == max) {
            (void)err_set(e, ERR_PERM, "input: the line is longer than %zu bytes", max);
            goto done;
        } else {
            line[n++] = byte;
        }
    }
    ok = secret_set(out, span_of(line, n)) || err_set(e, ERR_TEMP, "input: no memory");
done:
    secret_wipe_bytes(line, sizeof line);
    return ok;
}

/* A console speaks UTF-16; ReadFile would give it in the console's code page. */
static bool read_console(HANDLE console, size_t max, struct secret *out, struct err *e)
{
    wchar_t wide[LINE_MAX_BYTES];
    char line[LINE_MAX_BYTES * 3];
    DWORD n = 0;
    bool ok = false;
    if (!ReadConsoleW(console, wide, LINE_MAX_BYTES - 1, &n, NULL) || n == 0) {
        (void)err_set(e, ERR_PERM, "input: no line to read");
        goto done;
    }
    while (n > 0 && (wide[n - 1] == L'\n' || wide[n - 1] == L'\r'))
        n--;
    wide[n] = 0;
    if (!text_from_wide(wide, line, sizeof line) || strlen(line) > max)
        (void)err_set(e, ERR_PERM, "input: the line is longer than %zu bytes, or no text", max);
    else
        ok = secret_set(out, span_str(line)) || err_set(e, ERR_TEMP, "input: no memory");
done:
    secret_wipe_bytes(wide, sizeof wide);
    secret_wipe_bytes(line, sizeof line);
    return ok;
}

bool terminal_read_line(size_t max, struct secret *out, struct err *e)
{
    HANDLE in = GetStdHandle(STD_INPUT_HANDLE);
    DWORD mode;
    if (GetConsoleMode(in, &mode))
        return read_console(in, max, out, e);
    return read_line(in, max, out, e);
}

bool terminal_read_password(const char *prompt, struct secret *out, struct err *e)
{
    const DWORD both = FILE_SHARE_READ | FILE_SHARE_WRITE;
    HANDLE in =
        CreateFileW(L"CONIN$", GENERIC_READ | GENERIC_WRITE, both, NULL, OPEN_EXISTING, 0, NULL);
    HANDLE to = CreateFileW(L"CONOUT$", GENERIC_WRITE, both, NULL, OPEN_EXISTING, 0, NULL);
    wchar_t wide[256];
    DWORD before = 0, wrote;
    bool ok = false;
    if (in == INVALID_HANDLE_VALUE || to == INVALID_HANDLE_VALUE || !GetConsoleMode(in, &before) ||
        !text_to_wide(prompt, wide, sizeof wide / sizeof *wide)) {
        (void)err_set(e, ERR_PERM, "password: there is no terminal to ask on");
        goto done;
    }
    (void)WriteConsoleW(to, wide, (DWORD)wcslen(wide), &wrote, NULL);
    /* Ctrl-C while the echo is off would leave it off: it is a character until then. */
    (void)SetConsoleMode(in, ENABLE_LINE_INPUT);
    ok = read_console(in, LINE_MAX_BYTES, out, e);
    (void)SetConsoleMode(in, before);
    (void)WriteConsoleW(to, L"\r\n", 2, &wrote, NULL);
done:
    if (in != INVALID_HANDLE_VALUE)
        (void)CloseHandle(in);
    if (to != INVALID_HANDLE_VALUE)
        (void)CloseHandle(to);
    return ok;
}
