/* service_control.h - the service manager seen from outside: what `postern service` asks of it.
 * systemd in posix/service_control_systemd.c, the SCM in win32/service_control_scm.c; the words,
 * what is printed and the exit codes are common, in commands/service.c.
 * Threads: one; each call blocks for as long as the manager takes.
 * Failure: the result says which exit code it is, the error names the call or the program that
 * failed with the system's own text, and where there is one the command that mends it. */
#ifndef POSTERN_PLATFORM_SERVICE_CONTROL_H
#define POSTERN_PLATFORM_SERVICE_CONTROL_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

enum service_control_result {
    SERVICE_CONTROL_DONE,
    SERVICE_CONTROL_ABSENT,  /* no such service is installed */
    SERVICE_CONTROL_REFUSED, /* the manager did its part and the service did not: it would not
                                start, it ended at once, it cannot be paused here */
    SERVICE_CONTROL_FAILED,  /* the manager could not be asked or said no: rights, a call failed */
};

/* What the system's own words for it are, as "systemd" or "the service control manager". */
const char *service_control_manager(void);

/* ---- the acts ----
 * said gets lines for people, each with its newline: what was made, changed, left as it was. */

/* Registers the service for the start of the machine; does not start it. config: the file that the
 * service is to use, absolute; NULL = the system's own. Installed already: brought up to date. */
enum service_control_result service_control_install(const char *config, struct buf *said,
                                                    struct err *e);

/* Stops it and takes away what install made; the configuration, the data and the service's user
 * stay. */
enum service_control_result service_control_uninstall(struct buf *said, struct err *e);

/* Return once the service is ready, stopped, paused; already so: DONE, and said says it. */
enum service_control_result service_control_start(struct buf *said, struct err *e);
enum service_control_result service_control_stop(struct buf *said, struct err *e);

/* Paused: no new clients, sessions end by themselves. systemd has no such thing: REFUSED. */
enum service_control_result service_control_pause(struct buf *said, struct err *e);
enum service_control_result service_control_continue(struct buf *said, struct err *e);

/* ---- the state ---- */

enum service_state {
    SERVICE_STATE_ABSENT, /* not installed */
    SERVICE_STATE_STOPPED,
    SERVICE_STATE_STARTING,
    SERVICE_STATE_RUNNING, /* ready */
    SERVICE_STATE_RELOADING,
    SERVICE_STATE_PAUSING,
    SERVICE_STATE_PAUSED,
    SERVICE_STATE_CONTINUING,
    SERVICE_STATE_STOPPING,
    SERVICE_STATE_FAILED, /* ended by itself, and the manager does not start it again now */
};

struct service_control_status {
    enum service_state state;
    bool automatic;      /* starts with the machine */
    uint64_t process_id; /* 0: none */
    char name[64];       /* the manager's name for it: "postern.service", "Postern" */
    char account[128];   /* runs as; "" = the manager does not tell */
    char where[512];     /* its unit's file, or the command line that is registered */
    char detail[256];    /* what the service or the manager says of it; may be empty */
};

/* DONE for an absent service too: state says so. */
enum service_control_result service_control_status(struct service_control_status *out,
                                                   struct err *e);

#endif
