#include "base/cert_name.h"

#include <string.h>

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The length of what stands here and means nothing; 0: it means something. */
static size_t skipped(const char *text)
{
    static const char *const marks[] = {
        " ",
        "\t",
        ":",
        "-",
        "\xc2\xa0",     /* U+00A0 no-break space */
        "\xe2\x80\x8b", /* U+200B zero width space */
        "\xe2\x80\x8c", /* U+200C, U+200D: joiners */
        "\xe2\x80\x8d",
        "\xe2\x80\x8e", /* U+200E left-to-right mark: the certificate dialog's */
        "\xe2\x80\x8f", /* U+200F right-to-left mark */
        "\xe2\x80\xaa", /* U+202A, U+202C: embedding and its end */
        "\xe2\x80\xac",
        "\xe2\x80\xaf", /* U+202F narrow no-break space */
        "\xef\xbb\xbf", /* U+FEFF byte order mark */
    };
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (strncmp(text, marks[i], strlen(marks[i])) == 0)
            return strlen(marks[i]);
    return 0;
}

bool thumbprint_parse(const char *text, uint8_t out[THUMBPRINT_BYTES])
{
    size_t digits = 0;
    while (*text != '\0') {
        size_t n = skipped(text);
        int value = digit(*text);
        if (n == 0 && (value < 0 || digits == (size_t)2 * THUMBPRINT_BYTES))
            return false;
        if (n == 0) {
            uint8_t *byte = &out[digits / 2];
            *byte = (uint8_t)(digits % 2 == 0 ? value << 4 : *byte | value);
            digits++;
            n = 1;
        }
        text += n;
    }
    return digits == (size_t)2 * THUMBPRINT_BYTES;
}

void thumbprint_format(const uint8_t thumbprint[THUMBPRINT_BYTES], char out[THUMBPRINT_TEXT_MAX])
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < THUMBPRINT_BYTES; i++) {
        out[2 * i] = digits[thumbprint[i] >> 4];
        out[2 * i + 1] = digits[thumbprint[i] & 15];
    }
    out[2 * THUMBPRINT_BYTES] = '\0';
}

bool cert_store_name(const char *text, bool *machine, struct span *name)
{
    static const char *const places[] = {"LocalMachine", "CurrentUser"};
    struct span all = span_str(text);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        size_t n = strlen(places[i]);
        if (!span_starts_nocase(all, places[i]) || all.n < n + 2 ||
            (all.p[n] != '/' && all.p[n] != '\\'))
            continue;
        *machine = i == 0;
        *name = span_from(all, n + 1);
        return span_find(*name, '/') == name->n && span_find(*name, '\\') == name->n;
    }
    return false;
}
