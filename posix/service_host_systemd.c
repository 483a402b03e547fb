/* The systemd side of platform/service_host.h, without libsystemd: sd_notify(3) is one datagram to
 * the socket in NOTIFY_SOCKET, socket activation three variables, sd_listen_fds(3). */
#define _GNU_SOURCE
#include "platform/service_host.h"

#include "platform/clock.h"
#include "platform/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The run state of the process's one host. */
static struct {
    struct service_host_requests requests;
    pthread_t thread;
    bool running;
    int notify; /* connected datagram socket; -1: no manager */
    uint64_t watchdog_ms;
} host = {.notify = -1};

enum { LISTEN_FDS_START = 3 }; /* sd_listen_fds(3) */

static void handled_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGHUP);
    (void)sigaddset(set, SIGUSR1);
    (void)sigaddset(set, SIGUSR2); /* service_host_end's own */
}

static void *wait_for_signals(void *unused)
{
    (void)unused;
    process_name_thread("host");
    sigset_t set;
    handled_signals(&set);
    for (;;) {
        siginfo_t info;
        int signal_number = sigwaitinfo(&set, &info);
        if (signal_number == SIGUSR2) {
            if (info.si_pid == getpid())
                return NULL;
            continue; /* from outside it means nothing */
        }
        void (*call)(void *) = NULL;
        if (signal_number == SIGTERM || signal_number == SIGINT)
            call = host.requests.stop;
        else if (signal_number == SIGHUP)
            call = host.requests.reload;
        else if (signal_number == SIGUSR1)
            call = host.requests.reopen;
        if (call != NULL)
            call(host.requests.context);
    }
}

/* NOTIFY_SOCKET is a path, or "@name" in the abstract namespace. */
static void connect_notify(void)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t n = name == NULL ? 0 : strlen(name);
    if (n < 2 || n >= sizeof un.sun_path || (name[0] != '@' && name[0] != '/'))
        return;
    memcpy(un.sun_path, name, n);
    if (un.sun_path[0] == '@')
        un.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    if (connect(fd, (const struct sockaddr *)&un, length) != 0) {
        (void)close(fd);
        return;
    }
    host.notify = fd;
    (void)unsetenv("NOTIFY_SOCKET"); /* our children are not the service */
}

static void read_watchdog(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (usec != NULL && (pid == NULL || strtoll(pid, NULL, 10) == (long long)getpid()))
        host.watchdog_ms = strtoull(usec, NULL, 10) / 1000u;
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
}

void service_host_enter(void)
{
}

void service_host_leave(int exit_code)
{
    (void)exit_code; /* the manager sees how the process ends */
}

bool service_host_start(const struct service_host_requests *requests, struct err *e)
{
    if (host.running)
        return err_set(e, ERR_BUG, "service host: started twice");
    sigset_t set;
    handled_signals(&set);
    /* Blocked here, before there are other threads, they are blocked in all of them and wait for
     * sigwaitinfo. */
    int code = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (code != 0)
        return err_set(e, ERR_TEMP, "signals: cannot block: %s", strerror(code));
    host.requests = *requests;
    connect_notify();
    read_watchdog();
    code = pthread_create(&host.thread, NULL, wait_for_signals, NULL);
    if (code != 0)
        return err_set(e, ERR_TEMP, "service host: cannot start its thread: %s", strerror(code));
    host.running = true;
    return true;
}

void service_host_end(void)
{
    if (host.running) {
        (void)pthread_kill(host.thread, SIGUSR2);
        (void)pthread_join(host.thread, NULL);
        host.running = false;
    }
    if (host.notify >= 0)
        (void)close(host.notify);
    host.notify = -1;
    host.watchdog_ms = 0;
}

static void notify(const char *state, const char *status)
{
    if (host.notify < 0)
        return;
    char text[1024];
    int n = snprintf(text, sizeof text, "%s%s%s%s", state, state[0] != 0 && status ? "\n" : "",
                     status ? "STATUS=" : "", status ? status : "");
    if (n < 0)
        return;
    size_t length = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    ssize_t sent;
    do {
        sent = send(host.notify, text, length, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
}

void service_host_ready(const char *status)
{
    notify("READY=1", status);
}

void service_host_reloading(void)
{
    char text[80]; /* Type=notify-reload wants to know when it began, systemd 253 */
    (void)snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu",
                   (unsigned long long)clock_monotonic_us());
    notify(text, NULL);
}

void service_host_paused(bool paused)
{
    (void)paused; /* systemd knows no such state and asks for none */
}

void service_host_stopping(const char *status)
{
    notify("STOPPING=1", status);
}

void service_host_status(const char *status)
{
    notify("", status);
}

void service_host_extend(uint64_t timeout_ms)
{
    char text[64];
    (void)snprintf(text, sizeof text, "EXTEND_TIMEOUT_USEC=%llu",
                   (unsigned long long)timeout_ms * 1000u);
    notify(text, NULL);
}

uint64_t service_host_watchdog_interval_ms(void)
{
    return host.notify < 0 ? 0 : host.watchdog_ms;
}

void service_host_watchdog(void)
{
    notify("WATCHDOG=1", NULL);
}

size_t service_host_sockets(struct service_host_socket *out, size_t max)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    size_t used = 0;
    if (pid != NULL && fds != NULL && strtoll(pid, NULL, 10) == (long long)getpid()) {
        long n = strtol(fds, NULL, 10);
        for (long i = 0; i < n && i < 1024 && used < max; i++) {
            int fd = LISTEN_FDS_START + (int)i;
            struct service_host_socket *s = &out[used];
            *s = (struct service_host_socket){.sock = fd};
            if (names != NULL) {
                size_t length = strcspn(names, ":");
                (void)snprintf(s->name, sizeof s->name, "%.*s", (int)length, names);
                names = names[length] == ':' ? names + length + 1 : NULL;
            }
            if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
                used++;
        }
    }
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return used;
}
