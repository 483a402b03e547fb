/* service_host.h - the one who started us: systemd here, the service control manager on Windows,
 * or nobody (a terminal).
 * Threads: enter, start and leave from main, start before any other thread is made; the
 * notifications from any thread; the requests come on a thread of the host's own and must only post
 * and return. */
#ifndef POSTERN_PLATFORM_SERVICE_HOST_H
#define POSTERN_PLATFORM_SERVICE_HOST_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct service_host_requests {
    void (*stop)(void *context);   /* SIGTERM, SIGINT; may come again: "now, please" */
    void (*reload)(void *context); /* SIGHUP */
    void (*reopen)(void *context); /* SIGUSR1: log files; may be NULL */
    void (*pause)(void *context);  /* no new clients, until resume; may be NULL, then resume too */
    void (*resume)(void *context);
    void *context;
};

/* Before anything that may fail: the SCM waits half a minute for a sign that the process is a
 * service, and standard error of one is kept for the event log. And the last thing of all, with
 * the exit code. Both do nothing under systemd. */
void service_host_enter(void);
void service_host_leave(int exit_code);

bool service_host_start(const struct service_host_requests *requests, struct err *e);
void service_host_end(void); /* no request comes after this returns; joins the host's thread */

/* Notifications; without a manager they do nothing. status (may be NULL) is one line for people. */
void service_host_ready(const char *status);
void service_host_reloading(void);     /* a ready must follow, good or bad */
void service_host_paused(bool paused); /* a request for it is done; false: accepting again */
void service_host_stopping(const char *status);
void service_host_status(const char *status);
void service_host_extend(uint64_t timeout_ms); /* starting or stopping takes that much longer */

/* How often the manager wants a sign of life: call watchdog at half of it; 0 = not at all. */
uint64_t service_host_watchdog_interval_ms(void);
void service_host_watchdog(void);

/* Listening sockets that the manager handed in, once: the environment that told of them is
 * cleared, so that programs we start do not take them for theirs. name is the manager's name for
 * it ("" if none). Returns how many; at most max are filled. */
struct service_host_socket {
    intptr_t sock;
    char name[64];
};
size_t service_host_sockets(struct service_host_socket *out, size_t max);

#endif
