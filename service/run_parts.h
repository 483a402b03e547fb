/* run_parts.h - the run state, shared by run.c (start), run_reload.c and run_stop.c.
 * Owner: run.c, on main's stack. Threads: main's, except where a desk's work is posted to it. */
#ifndef POSTERN_RUN_PARTS_H
#define POSTERN_RUN_PARTS_H

#include "admin/requests.h"
#include "config/messages.h"
#include "platform/paths.h"
#include "session/courier.h"
#include "session/inbound.h"
#include "session/pickup.h"
#include "session/rates.h"
#include "session/refusals.h"

enum { RUN_LISTENERS_MAX = 256, RUN_WORKERS_MAX = 64 };

/* A listening socket, named by its address as it stands in the file. The tag is the acceptor's. */
struct run_listener {
    char address[128];
    uint32_t tag;
    bool implicit_tls;
};

struct run_desk {
    struct session_desk desk;
    atomic_bool alive;              /* it answered the last ping */
    struct worker_item ping, drain; /* each is under way once at most */
    bool started;
};

/* Watches the list files of the policy in force; run_lists.c. */
struct run_lists {
    struct worker_timer *timer;
    struct lane_job job;   /* on the file lane, one at a time */
    struct policy *policy; /* the job's: whose lists it looks at */
    struct policy *fresh;  /* its result, or NULL */
    struct config_messages messages;
    bool changed;
    struct policy_list_file *seen; /* at the look before: what still changes is not read */
    struct policy_list_file *bad;  /* what was refused: not read again until it changes */
    size_t count;
    uint64_t took_ms;
};

/* Looks at the certificates of the system's store; run_certificates.c. */
struct run_certificates {
    struct worker_timer *timer;
    struct lane_job job;   /* on the file lane, one at a time */
    struct policy *policy; /* the job's */
    struct tls_context *in_force;
    struct tls_context *fresh; /* its result, or NULL */
    struct tls_renewal found;
    struct err error;
    bool ok;
    char told[TLS_NOTE_MAX]; /* what was refused: said once */
};

/* The log's file and its rotation, of run_log.c. */
struct run_log {
    char file[PATH_TEXT_MAX]; /* "" = standard error */
    int64_t begun_wall_ms;
    struct worker_timer *timer;
    bool moved;      /* the old file has its new name, and there is no new one yet */
    bool complained; /* a rotation that fails is said once */
};

struct run {
    const char *config;
    char data_directory[PATH_TEXT_MAX];
    struct session_env env;
    struct policy *policy;
    struct tls_context *tls;
    struct worker *main;
    struct run_desk desks[RUN_WORKERS_MAX]; /* inbound */
    size_t desk_count;
    struct run_desk courier; /* the courier's desk */
    struct run_desk home;    /* main's own: pickup */
    struct session_desk *desk_list[RUN_WORKERS_MAX];
    struct worker *workers[RUN_WORKERS_MAX];
    struct pickup *pickup;
    struct control *control;
    struct admin admin;
    struct run_listener listeners[RUN_LISTENERS_MAX];
    size_t listener_count;
    uint32_t next_tag;
    struct worker_item stop_item, reload_item, reopen_item, pause_item;
    atomic_bool stop_posted, reload_posted, reopen_posted, pause_posted;
    atomic_bool pause_wanted; /* the last of pause and continue that was asked for */
    struct worker_timer *watchdog, *stop_timer;
    struct run_log log;
    struct run_lists lists;
    struct run_certificates certificates;
    uint64_t stop_deadline_ms;
    bool host_started, stopping;
    atomic_bool courier_drained;
    struct worker_item courier_start_item, courier_drained_item;
    uint64_t descriptors;
};

/* run_reload.c */
bool run_reload(void *run, struct err *e);
void run_log_messages(const struct config_messages *m);
bool run_listen(struct run *r, const struct policy *policy, struct err *e);
/* found: of the store's certificates, for run_certificates_tell. */
struct tls_context *run_tls_context(const struct policy *policy, struct tls_renewal *found,
                                    bool *failed, struct err *e);
struct acceptor_limits run_limits(const struct run *r, const struct policy *policy);
/* The refusal of an open relay, and whatever else must not be started. */
bool run_policy_may_start(const struct policy *policy, struct err *e);

/* The policy for what begins from now on, on every desk. False: no memory, and nothing is changed.
 */
bool run_hand_out(struct run *r, struct policy *policy, struct tls_context *tls);

/* run_lists.c */
bool run_lists_start(struct run *r, struct err *e);
void run_lists_stop(struct run *r); /* no further look; what is on the lane still comes back */
void run_lists_free(struct run *r); /* after that */

/* run_certificates.c */
bool run_certificates_start(struct run *r, struct err *e);
void run_certificates_stop(struct run *r);
/* Logs what has come of a look; renewed: while we serve, not at the start or a reload. */
void run_certificates_tell(struct run *r, const struct tls_renewal *found, bool renewed);

/* run_log.c */
bool run_log_setup(struct run *r, const struct policy *policy, struct err *e);
bool run_log_start(struct run *r, struct err *e); /* rotation; main's worker is there */
void run_log_reopen(struct run *r);

/* run_stop.c */
void run_stop_requested(struct worker_item *item, struct worker *w);
/* After main's loop has ended: everything that is left, in order. */
void run_tear_down(struct run *r);

#endif
