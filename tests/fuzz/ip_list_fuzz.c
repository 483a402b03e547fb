/* Any bytes as an IIS list: what is taken lies within the bounds, the same in its hexadecimal form.
 */
#include "import/ip_list.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    struct arena a;
    struct ip_list l, again;
    struct err e = {0};
    if (size > 64 * 1024)
        return 0;
    char *hex = malloc(2 * size + 1);
    if (hex == NULL)
        return 0;
    for (size_t i = 0; i < size; i++) {
        hex[2 * i] = digits[data[i] >> 4];
        hex[2 * i + 1] = digits[data[i] & 15];
    }
    arena_init(&a, 16 * 1024 * 1024);
    bool ok = ip_list_parse(&a, span_of(data, size), &l, &e);
    if (!ok && e.class != ERR_PERM)
        __builtin_trap();
    if (ok && l.granted.count + l.denied.count > 2 * (size_t)IP_LIST_ENTRIES_MAX)
        __builtin_trap();
    if (ip_list_parse_hex(&a, span_of(hex, 2 * size), &again, &e) != ok ||
        (ok && (again.granted.count != l.granted.count || again.denied.count != l.denied.count)))
        __builtin_trap();
    arena_deinit(&a);
    free(hex);
    return 0;
}
