#include "auth/breaker.h"

bool breaker_is_open(const struct breaker *b)
{
    return b->open_until_ms != 0;
}

bool breaker_ask(struct breaker *b, uint64_t now_ms)
{
    if (!breaker_is_open(b))
        return true;
    if (b->probing || now_ms < b->open_until_ms)
        return false;
    b->probing = true;
    return true;
}

bool breaker_tell(struct breaker *b, bool answered, uint64_t now_ms)
{
    bool was_open = breaker_is_open(b);
    if (answered) {
        *b = (struct breaker){0};
        return was_open;
    }
    b->failures++;
    if (was_open && !b->probing) /* asked before it opened; nothing new */
        return false;
    if (b->failures < BREAKER_FAILURES)
        return false;
    b->pause_ms = b->pause_ms == 0 ? BREAKER_PAUSE_MS : b->pause_ms * 2;
    if (b->pause_ms > BREAKER_PAUSE_MAX_MS)
        b->pause_ms = BREAKER_PAUSE_MAX_MS;
    b->open_until_ms = now_ms + b->pause_ms;
    b->probing = false;
    return !was_open;
}
