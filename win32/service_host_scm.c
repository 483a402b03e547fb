/* The Windows side of platform/service_host.h. A thread of the host's own asks the service control
 * manager for its dispatcher; where that refuses because nobody waits for us there (error 1063), a
 * person has started us, and the requests come from the console.
 *
 *     enter: START_PENDING -> ready: RUNNING -> (PAUSED ->) stopping: STOP_PENDING -> leave:
 * STOPPED
 *
 * The control handler posts a request and returns. A stop that comes before there is somebody to
 * post it to is kept for him. */
#include "platform/service_host.h"

#include "platform/log_sink.h"
#include "platform/process.h"
#include "win32/eventlog.h"
#include "win32/text.h"

#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    REOPEN_CONTROL = 128, /* sc control Postern 128: log files again */
    START_HINT_MS = 60000,
    STOP_HINT_MS = 30000,
    PAUSE_HINT_MS = 10000,
    SAID_MAX = 6 * 1024,
    SAID_ROOM = 64 * 1024,
    LOGOFF_WAIT_MS = 20000,
};

/* The run state of the process's one host. */
static struct {
    SRWLOCK lock; /* of what follows */
    SERVICE_STATUS status;
    SERVICE_STATUS_HANDLE handle; /* NULL: a console, or nobody */
    struct service_host_requests requests;
    bool attached; /* requests may be called */
    bool stop_wanted, stopping, pause_wanted, was_ready;
    /* from here on set by enter and read by leave */
    HANDLE dispatcher, decided, ended;
    HANDLE said; /* the reading end of what a service has for its standard error */
    bool console;
} host = {.lock = SRWLOCK_INIT};

/* Call with the lock held. A pending state with each call is one checkpoint further. */
static void report_state(DWORD state, DWORD hint_ms)
{
    SERVICE_STATUS *s = &host.status;
    bool pending = state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING ||
                   state == SERVICE_PAUSE_PENDING || state == SERVICE_CONTINUE_PENDING;
    if (host.handle == NULL || s->dwCurrentState == SERVICE_STOPPED)
        return;
    s->dwServiceType = SERVICE_WIN32_OWN_PROCESS;
    s->dwCheckPoint = !pending ? 0 : state == s->dwCurrentState ? s->dwCheckPoint + 1 : 1;
    s->dwCurrentState = state;
    s->dwWaitHint = pending ? hint_ms : 0;
    s->dwControlsAccepted = SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_PRESHUTDOWN;
    if (state == SERVICE_RUNNING || state == SERVICE_PAUSED)
        s->dwControlsAccepted |= SERVICE_ACCEPT_PAUSE_CONTINUE | SERVICE_ACCEPT_PARAMCHANGE;
    if (state == SERVICE_STOP_PENDING || state == SERVICE_STOPPED)
        s->dwControlsAccepted = 0;
    (void)SetServiceStatus(host.handle, s);
}

static void request_stop(void)
{
    AcquireSRWLockExclusive(&host.lock);
    void (*stop)(void *) = host.attached ? host.requests.stop : NULL;
    void *context = host.requests.context;
    host.stop_wanted = true;
    report_state(SERVICE_STOP_PENDING, STOP_HINT_MS);
    ReleaseSRWLockExclusive(&host.lock);
    if (stop != NULL)
        stop(context);
}

static void request(void (*const *which)(void *))
{
    AcquireSRWLockShared(&host.lock);
    void (*call)(void *) = host.attached ? *which : NULL;
    void *context = host.requests.context;
    ReleaseSRWLockShared(&host.lock);
    if (call != NULL)
        call(context);
}

static void request_pause(bool pause)
{
    AcquireSRWLockExclusive(&host.lock);
    bool known = host.attached && host.requests.pause != NULL && !host.stop_wanted;
    host.pause_wanted = pause;
    if (known)
        report_state(pause ? SERVICE_PAUSE_PENDING : SERVICE_CONTINUE_PENDING, PAUSE_HINT_MS);
    ReleaseSRWLockExclusive(&host.lock);
    request(pause ? &host.requests.pause : &host.requests.resume);
}

static DWORD WINAPI control(DWORD code, DWORD event, LPVOID data, LPVOID context)
{
    (void)event;
    (void)data;
    (void)context;
    switch (code) {
    case SERVICE_CONTROL_STOP:
    case SERVICE_CONTROL_PRESHUTDOWN:
    case SERVICE_CONTROL_SHUTDOWN: request_stop(); return NO_ERROR;
    case SERVICE_CONTROL_PAUSE: request_pause(true); return NO_ERROR;
    case SERVICE_CONTROL_CONTINUE: request_pause(false); return NO_ERROR;
    case SERVICE_CONTROL_PARAMCHANGE: request(&host.requests.reload); return NO_ERROR;
    case REOPEN_CONTROL: request(&host.requests.reopen); return NO_ERROR;
    case SERVICE_CONTROL_INTERROGATE: return NO_ERROR;
    default: return ERROR_CALL_NOT_IMPLEMENTED;
    }
}

static BOOL WINAPI console_control(DWORD code)
{
    request_stop();
    if (code == CTRL_C_EVENT || code == CTRL_BREAK_EVENT)
        return TRUE;
    /* The window closes or the person logs off: when this returns, the process is ended. */
    (void)WaitForSingleObject(host.ended, LOGOFF_WAIT_MS);
    return TRUE;
}

/* The stream has none, in a service. To open it anew gives it one; the old run-time refuses to
 * under Wine, and lets itself be told. */
static void give_descriptor(FILE *stream, int fd)
{
    if (freopen("NUL", "w", stream) != NULL)
        (void)_dup2(fd, _fileno(stream));
#ifndef _UCRT
    else {
        stream->_file = fd;
        stream->_flag = _IOWRT;
    }
#endif
}

/* A service has no standard error. What is written there before the log is open stays in a pipe of
 * our own, and goes from there to the event log; when the pipe is full, more is dropped. */
static void catch_standard_error(void)
{
    DWORD mode = PIPE_READMODE_BYTE | PIPE_NOWAIT;
    HANDLE from = NULL, to = NULL, copy = NULL;
    if (!CreatePipe(&from, &to, NULL, SAID_ROOM) ||
        !SetNamedPipeHandleState(to, &mode, NULL, NULL) ||
        !DuplicateHandle(GetCurrentProcess(), to, GetCurrentProcess(), &copy, 0, FALSE,
                         DUPLICATE_SAME_ACCESS))
        return;
    host.said = from;
    (void)SetStdHandle(STD_ERROR_HANDLE, to);
    int fd = _open_osfhandle((intptr_t)copy, _O_BINARY);
    if (fd >= 0)
        give_descriptor(stderr, fd);
    (void)setvbuf(stderr, NULL, _IONBF, 0);
}

static VOID WINAPI service_main(DWORD argc, LPWSTR *argv)
{
    (void)argc;
    (void)argv;
    AcquireSRWLockExclusive(&host.lock);
    host.handle = RegisterServiceCtrlHandlerExW(L"Postern", control, NULL);
    report_state(SERVICE_START_PENDING, START_HINT_MS);
    ReleaseSRWLockExclusive(&host.lock);
    (void)SetEvent(host.decided);
    (void)WaitForSingleObject(host.ended, INFINITE);
}

static DWORD WINAPI dispatch(LPVOID unused)
{
    (void)unused;
    wchar_t name[] = L"Postern";
    const SERVICE_TABLE_ENTRYW table[] = {{name, service_main}, {NULL, NULL}};
    process_name_thread("host");
    if (!StartServiceCtrlDispatcherW(table))
        (void)SetEvent(host.decided);
    return 0;
}

void service_host_enter(void)
{
    if (host.dispatcher != NULL)
        return;
    host.decided = CreateEventW(NULL, TRUE, FALSE, NULL);
    host.ended = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (host.decided != NULL && host.ended != NULL)
        host.dispatcher = CreateThread(NULL, 0, dispatch, NULL, 0, NULL);
    if (host.dispatcher != NULL)
        (void)WaitForSingleObject(host.decided, INFINITE);
    host.console = host.handle == NULL;
    if (host.console) {
        (void)SetConsoleCtrlHandler(console_control, TRUE);
        return;
    }
    eventlog_open();
    catch_standard_error();
}

/* What was said on standard error, its end where it is long. */
static void read_said(char *out, size_t size)
{
    char some[1024];
    DWORD waiting = 0, n = 0;
    size_t have = 0;
    (void)fflush(stderr);
    while (host.said != NULL && PeekNamedPipe(host.said, NULL, 0, NULL, &waiting, NULL) &&
           waiting > 0 && ReadFile(host.said, some, sizeof some, &n, NULL)) {
        size_t gone = have + n < size ? 0 : have + n + 1 - size;
        memmove(out, out + gone, have - gone);
        memcpy(out + have - gone, some, n);
        have += n - gone;
    }
    out[have] = 0;
}

void service_host_leave(int exit_code)
{
    static char said[SAID_MAX];
    if (host.handle != NULL) {
        if (exit_code != 0)
            read_said(said, sizeof said);
        eventlog_ended(host.was_ready, exit_code, said);
        AcquireSRWLockExclusive(&host.lock);
        host.status.dwWin32ExitCode = exit_code == 0 ? NO_ERROR : ERROR_SERVICE_SPECIFIC_ERROR;
        host.status.dwServiceSpecificExitCode = (DWORD)exit_code;
        report_state(SERVICE_STOPPED, 0);
        ReleaseSRWLockExclusive(&host.lock);
        eventlog_close();
    }
    if (host.ended != NULL)
        (void)SetEvent(host.ended);
    if (host.dispatcher != NULL) /* it returns when the manager has taken note of the end */
        (void)WaitForSingleObject(host.dispatcher, STOP_HINT_MS);
}

bool service_host_start(const struct service_host_requests *requests, struct err *e)
{
    AcquireSRWLockExclusive(&host.lock);
    bool twice = host.attached, stop = host.stop_wanted;
    host.requests = *requests;
    host.attached = true;
    ReleaseSRWLockExclusive(&host.lock);
    if (twice)
        return err_set(e, ERR_BUG, "service host: started twice");
    if (stop)
        requests->stop(requests->context);
    return true;
}

void service_host_end(void)
{
    AcquireSRWLockExclusive(&host.lock);
    host.attached = false;
    ReleaseSRWLockExclusive(&host.lock);
}

void service_host_ready(const char *status)
{
    wchar_t wide[MAX_PATH * 2] = L"";
    char program[MAX_PATH * 4] = "";
    AcquireSRWLockExclusive(&host.lock);
    bool first = !host.was_ready && host.handle != NULL;
    host.was_ready = true;
    if (!host.stop_wanted && host.status.dwCurrentState == SERVICE_START_PENDING)
        report_state(SERVICE_RUNNING, 0); /* after a reload it is running or paused, and stays so */
    ReleaseSRWLockExclusive(&host.lock);
    if (first) {
        (void)GetModuleFileNameW(NULL, wide, MAX_PATH * 2);
        if (!text_from_wide(wide, program, sizeof program))
            program[0] = 0;
        eventlog_started(program, status);
    }
}

void service_host_paused(bool paused)
{
    AcquireSRWLockExclusive(&host.lock);
    if (!host.stop_wanted && !host.stopping && paused == host.pause_wanted)
        report_state(paused ? SERVICE_PAUSED : SERVICE_RUNNING, 0);
    ReleaseSRWLockExclusive(&host.lock);
}

void service_host_reloading(void)
{
    /* The manager knows no such state. */
}

void service_host_stopping(const char *status)
{
    (void)status;
    AcquireSRWLockExclusive(&host.lock);
    host.stopping = true;
    report_state(SERVICE_STOP_PENDING, STOP_HINT_MS);
    ReleaseSRWLockExclusive(&host.lock);
}

void service_host_status(const char *status)
{
    (void)status; /* the manager shows no words of a service */
}

void service_host_extend(uint64_t timeout_ms)
{
    DWORD hint = timeout_ms > 600000 ? 600000 : (DWORD)timeout_ms;
    AcquireSRWLockExclusive(&host.lock);
    DWORD state = host.status.dwCurrentState;
    if (state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING)
        report_state(state, hint);
    ReleaseSRWLockExclusive(&host.lock);
}

uint64_t service_host_watchdog_interval_ms(void)
{
    return 0; /* the manager asks for no signs of life */
}

void service_host_watchdog(void)
{
}

size_t service_host_sockets(struct service_host_socket *out, size_t max)
{
    (void)out;
    (void)max;
    return 0; /* the manager opens none */
}
