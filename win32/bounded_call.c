#include "win32/bounded_call.h"

#include <windows.h>

#include <stddef.h>

/* Of the process, since its threads are. */
static atomic_int late_calls;

void bounded_call_begin(struct bounded_call *c)
{
    atomic_store(&c->holders, 1);
    atomic_store(&c->late, false);
    c->answered = NULL;
}

void bounded_call_release(struct bounded_call *c)
{
    if (atomic_fetch_sub(&c->holders, 1) != 1)
        return;
    if (atomic_load(&c->late))
        (void)atomic_fetch_sub(&late_calls, 1);
    if (c->answered != NULL)
        (void)CloseHandle(c->answered);
    c->dispose(c);
}

static VOID CALLBACK answer(PTP_CALLBACK_INSTANCE instance, PVOID context)
{
    struct bounded_call *c = context;
    (void)CallbackMayRunLong(instance);
    c->work(c);
    (void)SetEvent(c->answered);
    bounded_call_release(c);
}

enum bounded_result bounded_call_run(struct bounded_call *c, uint32_t deadline_ms)
{
    if (atomic_load(&late_calls) >= BOUNDED_CALLS_LATE_MAX)
        return BOUNDED_FULL;
    if (c->answered == NULL)
        c->answered = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (c->answered == NULL)
        return BOUNDED_FAILED;
    (void)atomic_fetch_add(&c->holders, 1);
    if (!TrySubmitThreadpoolCallback(answer, c, NULL)) {
        (void)atomic_fetch_sub(&c->holders, 1);
        return BOUNDED_FAILED;
    }
    if (WaitForSingleObject(c->answered, deadline_ms) == WAIT_OBJECT_0)
        return BOUNDED_DONE;
    /* We hold it still: whoever lets go last sees both. */
    (void)atomic_fetch_add(&late_calls, 1);
    atomic_store(&c->late, true);
    return BOUNDED_LATE;
}

const char *bounded_text(enum bounded_result result)
{
    switch (result) {
    case BOUNDED_DONE: return "";
    case BOUNDED_LATE: return "no answer in time";
    case BOUNDED_FULL: return "too many earlier questions have no answer";
    case BOUNDED_FAILED: break;
    }
    return "the system has no thread for it";
}
