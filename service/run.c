#include "run.h"

#include "base/log.h"
#include "commands/exit_codes.h"
#include "config/messages.h"
#include "platform/clock.h"
#include "platform/durable_file.h"
#include "platform/files.h"
#include "platform/local_account.h"
#include "platform/paths.h"
#include "platform/process.h"
#include "platform/service_host.h"
#include "platform/sock.h"
#include "run_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    AUTH_LANE_BOUND = 256,
    AUTH_LANE_SHARE = 8, /* of one peer: others get their turn */
    AUTH_OUTSIDE_THREADS = 8,
    AUTH_OUTSIDE_SHARE = 64, /* cheap for us: one application server may log in many at once */
    FILE_LANE_THREADS = 4,
    FILE_LANE_BOUND = 65536,
};

/* ---- requests of the service manager: post and return ---- */

static void post_once(struct run *r, atomic_bool *posted, struct worker_item *item)
{
    if (!atomic_exchange(posted, true))
        worker_post(r->main, item);
}

static void on_stop(void *context)
{
    struct run *r = context;
    post_once(r, &r->stop_posted, &r->stop_item);
}

static void on_reload(void *context)
{
    struct run *r = context;
    post_once(r, &r->reload_posted, &r->reload_item);
}

static void on_reopen(void *context)
{
    struct run *r = context;
    post_once(r, &r->reopen_posted, &r->reopen_item);
}

static void on_pause(void *context)
{
    struct run *r = context;
    atomic_store(&r->pause_wanted, true);
    post_once(r, &r->pause_posted, &r->pause_item);
}

static void on_resume(void *context)
{
    struct run *r = context;
    atomic_store(&r->pause_wanted, false);
    post_once(r, &r->pause_posted, &r->pause_item);
}

static void reload_requested(struct worker_item *item, struct worker *w)
{
    (void)w;
    struct run *r = LIST_ENTRY(item, struct run, reload_item);
    struct err e = {0};
    atomic_store(&r->reload_posted, false);
    if (!r->stopping)
        (void)run_reload(r, &e);
}

static void reopen_requested(struct worker_item *item, struct worker *w)
{
    (void)w;
    struct run *r = LIST_ENTRY(item, struct run, reopen_item);
    atomic_store(&r->reopen_posted, false);
    run_log_reopen(r);
}

/* Sessions that are there go on; new clients wait in the system's backlog. */
static void pause_requested(struct worker_item *item, struct worker *w)
{
    (void)w;
    struct run *r = LIST_ENTRY(item, struct run, pause_item);
    atomic_store(&r->pause_posted, false);
    if (r->stopping || r->env.acceptor == NULL)
        return;
    bool pause = atomic_load(&r->pause_wanted);
    uint64_t sessions = acceptor_connections(r->env.acceptor);
    if (pause) {
        acceptor_pause(r->env.acceptor);
        log_event(LOG_INFO, "service.paused", LOG_U("sessions", sessions));
    } else {
        acceptor_resume(r->env.acceptor);
        log_event(LOG_INFO, "service.continued", LOG_U("sessions", sessions));
    }
    service_host_paused(pause);
}

/* ---- the watchdog hears from every worker before it says that we live ---- */

static void pong(struct worker_item *item, struct worker *w)
{
    (void)w;
    atomic_store(&LIST_ENTRY(item, struct run_desk, ping)->alive, true);
}

static void watchdog_tick(void *arg)
{
    struct run *r = arg;
    bool all = true;
    if (r->stopping)
        return; /* the manager has its own time-out for a stop */
    for (size_t i = 0; i < r->desk_count; i++)
        all = all && atomic_load(&r->desks[i].alive);
    all = all && atomic_load(&r->courier.alive);
    if (all) {
        service_host_watchdog();
        for (size_t i = 0; i <= r->desk_count; i++) {
            struct run_desk *d = i < r->desk_count ? &r->desks[i] : &r->courier;
            atomic_store(&d->alive, false);
            d->ping.run = pong;
            worker_post(d->desk.worker, &d->ping);
        }
    }
    worker_timer_at(r->watchdog, worker_now_ms(r->main) + service_host_watchdog_interval_ms() / 3);
}

static bool start_watchdog(struct run *r, struct err *e)
{
    if (service_host_watchdog_interval_ms() == 0)
        return true;
    for (size_t i = 0; i < r->desk_count; i++)
        atomic_store(&r->desks[i].alive, true);
    atomic_store(&r->courier.alive, true);
    r->watchdog = worker_timer_new(r->main, watchdog_tick, r);
    if (r->watchdog == NULL)
        return err_set(e, ERR_TEMP, "watchdog: no memory");
    worker_timer_at(r->watchdog, worker_now_ms(r->main) + 1);
    return true;
}

/* ---- the data directory ---- */

static bool make_folder(const struct policy *policy, const char *name, unsigned mode, struct err *e)
{
    char path[PATH_TEXT_MAX];
    /* The directory itself without a separator behind it: that would make it a mere parent. */
    int n = snprintf(path, sizeof path, "%s%s%s", policy->data_directory,
                     name[0] == '\0' ? "" : "/", name);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ERR_PERM, "%s: the path is too long", policy->data_directory);
    struct files_info info;
    if (files_stat(path, &info, NULL) == FILES_OK)
        return true;
    const char *user = policy->config->service.user;
    return files_make_folder(path, mode, e) && (user[0] == '\0' || files_give(path, user, e));
}

static bool make_folders(const struct policy *policy, struct err *e)
{
    return make_folder(policy, "", 0750, e) && make_folder(policy, "mail", 0750, e) &&
           make_folder(policy, "mail/Pickup", 0770, e) &&
           make_folder(policy, "mail/Drop", 0770, e) &&
           make_folder(policy, "mail/Drop/.tmp", 0700, e) &&
           make_folder(policy, "mail/Badmail", 0750, e) &&
           make_folder(policy, "mail/Badmail/.tmp", 0700, e);
}

/* Files that an earlier run under root has left would not open for service.user. */
static void give_files(const struct policy *policy)
{
    static const char *const names[] = {
        "queue.db",     "queue.db-wal", "queue.db-shm", "queue.db.lock",   "users.db",
        "users.db-wal", "users.db-shm", "refusals.db",  "refusals.db-wal", "refusals.db-shm"};
    const char *user = policy->config->service.user;
    if (user[0] == '\0' || !process_is_privileged())
        return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[PATH_TEXT_MAX];
        struct files_info info;
        if (paths_join(policy->data_directory, names[i], path, sizeof path) &&
            files_stat(path, &info, NULL) == FILES_OK)
            (void)files_give(path, user, NULL);
    }
    if (policy->log_file[0] != '\0') /* made a moment ago, by root */
        (void)files_give(policy->log_file, user, NULL);
}

/* What root alone may read served for the start and would refuse each reload. */
static void warn_of_the_next_reload(const struct run *r)
{
    struct err e = {0};
    bool failed;
    struct tls_renewal ignored;
    struct tls_context *again = run_tls_context(r->policy, &ignored, &failed, &e);
    if (failed)
        log_event(LOG_WARN, "tls.unreadable",
                  LOG_S("why", "read before root was dropped; a reload will be refused"),
                  LOG_S("user", r->policy->config->service.user), LOG_S("error", e.text));
    tls_unref(&again);
}

/* What a crash left half written; nobody else writes there, since we hold the queue's lock. */
static void sweep(const struct policy *policy, const char *name)
{
    char folder[PATH_TEXT_MAX], path[PATH_TEXT_MAX];
    struct arena arena;
    const char **names;
    size_t n = 0;
    bool more = true;
    while (more && paths_join(policy->data_directory, name, folder, sizeof folder)) {
        arena_init(&arena, 1024 * 1024);
        more = files_list(folder, 1000, &arena, &names, &n, &more, NULL) && more;
        for (size_t i = 0; i < n; i++)
            if (paths_join(folder, names[i], path, sizeof path) &&
                files_remove(path, NULL) != FILES_OK)
                more = false;
        arena_deinit(&arena);
        n = 0;
    }
}

/* ---- stores, lanes, workers ---- */

static bool open_queue(struct run *r, struct err *e)
{
    const struct config *config = r->policy->config;
    char path[PATH_TEXT_MAX];
    if (!paths_join(r->policy->data_directory, "queue.db", path, sizeof path))
        return err_set(e, ERR_PERM, "%s: the path is too long", r->policy->data_directory);
    struct queue_options options = {.reserve_bytes = config->queue.reserve, .path = path};
    bool ok;
    if (config->queue.store == CONFIG_STORE_MEMORY) {
        options.max_bytes = config->limits.memory + config->queue.reserve;
        ok = queue_memory_new(&options, &r->env.queue, e);
        if (ok)
            log_event(LOG_WARN, "queue.memory",
                      LOG_S("why", "queue.store: memory loses what waits when the service ends"));
    } else {
        ok = queue_sqlite_open(&options, &r->env.queue, e);
    }
    if (!ok) {
        e->class = ERR_TEMP; /* whatever it is, the configuration is not at fault */
        return err_wrap(e, "queue");
    }
    sweep(r->policy, "mail/Drop/.tmp");
    sweep(r->policy, "mail/Badmail/.tmp");
    r->env.clock = queue_clock_start(r->env.queue, clock_wall_ms(), clock_monotonic_ms());
    return true;
}

/* [0] computes, so a thread a core is right; each of the others waits for a backend outside, so
 * that one that is silent holds up nobody else. At least one of those, for what a reload may bring.
 */
static bool open_auth_lanes(struct run *r, struct err *e)
{
    const struct auth_options *o = &r->policy->auth;
    size_t outside = o->integrated.enabled ? 2 : 0; /* first messages and answers: backends.h */
    for (size_t i = 0; i < o->domain_count; i++)
        outside += o->domains[i].backend == AUTH_BACKEND_USERDB ? 0 : 1;
    size_t want = 1 + (outside == 0 ? 1 : outside);
    want = want > AUTH_LANES_MAX ? AUTH_LANES_MAX : want;
    for (size_t i = 0; i < want; i++) {
        const struct lane_options options = {.name = i == 0 ? "auth" : "auth-outside",
                                             .threads = i > 0                 ? AUTH_OUTSIDE_THREADS
                                                        : process_cores() < 2 ? 2
                                                                              : process_cores(),
                                             .bound = AUTH_LANE_BOUND,
                                             .share_max =
                                                 i == 0 ? AUTH_LANE_SHARE : AUTH_OUTSIDE_SHARE};
        r->env.auth_lanes[i] = lane_open(&options, e);
        if (r->env.auth_lanes[i] == NULL)
            return false;
        r->env.auth_lane_count++;
    }
    return true;
}

static bool open_lanes(struct run *r, struct err *e)
{
    const struct lane_options files = {
        .name = "files", .threads = FILE_LANE_THREADS, .bound = FILE_LANE_BOUND};
    r->env.store_lane = session_store_lane_open(r->env.queue, e);
    if (r->env.store_lane != NULL && open_auth_lanes(r, e))
        r->env.file_lane = lane_open(&files, e);
    return r->env.file_lane != NULL;
}

static bool open_desk(struct run *r, struct run_desk *d, const char *name, unsigned index,
                      struct err *e)
{
    const struct config *config = r->policy->config;
    const struct resolver_options options = {.servers = r->policy->resolver_servers,
                                             .timeout_ms = config->resolver.timeout_ms};
    d->desk.env = &r->env;
    d->desk.worker = worker_new(name, index, e);
    if (d->desk.worker == NULL)
        return false;
    slots_init(&d->desk.sessions, 1 << 20);
    session_desk_adopt(&d->desk, policy_ref(r->policy), r->tls == NULL ? NULL : tls_ref(r->tls));
    worker_set_user(d->desk.worker, &d->desk);
    d->desk.resolver = resolver_open(d->desk.worker, &options, e);
    return d->desk.resolver != NULL;
}

static bool open_desks(struct run *r, struct err *e)
{
    uint64_t want = r->policy->config->service.workers;
    size_t n = want == 0 ? process_cores() : (size_t)want;
    n = n > RUN_WORKERS_MAX ? RUN_WORKERS_MAX : n;
    for (size_t i = 0; i < n; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "worker-%zu", i);
        r->desk_count++;
        if (!open_desk(r, &r->desks[i], name, (unsigned)i + 1, e))
            return false;
        r->desk_list[i] = &r->desks[i].desk;
    }
    if (!open_desk(r, &r->courier, "courier", (unsigned)n + 1, e))
        return false;
    r->env.courier = courier_open(&r->courier.desk, e);
    r->pickup = r->env.courier == NULL ? NULL : pickup_open(&r->home.desk, e);
    return r->pickup != NULL;
}

/* While we are root, and before there are threads. Without it the backend is not ready and says so;
 * others work. */
static void start_account_helper(const struct policy *policy)
{
    const struct auth_options *o = &policy->auth;
    struct err e = {0};
    bool wanted = false;
    for (size_t i = 0; i < o->domain_count; i++)
        wanted = wanted || (o->domains[i].backend == AUTH_BACKEND_SYSTEM &&
                            o->domains[i].system.helper[0] == '\0');
    if (wanted && !local_account_helper_start(NULL, policy->config->service.user, &e))
        log_event(LOG_ERROR, "accounts.helper.failed", LOG_S("act", "start"), LOG_S("why", e.text));
}

static bool open_auth(struct run *r, struct err *e)
{
    if (r->policy->auth.domain_count == 0)
        return true;
    return auth_open(&r->policy->auth, &r->env.auth, e) || err_wrap(e, "authentication");
}

static void log_refused(const struct sock_address *peer, uint32_t listener, const char *limit,
                        void *context)
{
    struct run *r = context;
    char text[SOCK_ADDRESS_TEXT_MAX];
    (void)listener;
    sock_address_format(peer, text);
    atomic_fetch_add(&r->env.counters.refused_connections, 1);
    log_event(LOG_WARN, "smtp.connection.limit", LOG_S("client", text), LOG_S("limit", limit));
}

static bool open_acceptor(struct run *r, struct err *e)
{
    for (size_t i = 0; i < r->desk_count; i++)
        r->workers[i] = r->desks[i].desk.worker;
    const struct acceptor_options options = {
        .limits = run_limits(r, r->policy),
        .workers = r->workers,
        .workers_n = r->desk_count,
        .refusal_total = "421 4.3.2 Too many connections, try again later\r\n",
        .refusal_client = "421 4.7.0 Too many connections from your address\r\n",
        .on_arrival = inbound_arrive,
        .context = &r->env,
        .on_refused = log_refused};
    r->env.acceptor = acceptor_open(&options, e);
    return r->env.acceptor != NULL && run_listen(r, r->policy, e);
}

static void start_courier(struct worker_item *item, struct worker *w)
{
    (void)w;
    courier_start(LIST_ENTRY(item, struct run, courier_start_item)->env.courier);
}

static bool start_workers(struct run *r, struct err *e)
{
    for (size_t i = 0; i <= r->desk_count; i++) {
        struct run_desk *d = i < r->desk_count ? &r->desks[i] : &r->courier;
        d->started = worker_start(d->desk.worker, e);
        if (!d->started)
            return false;
    }
    r->courier_start_item.run = start_courier;
    worker_post(r->courier.desk.worker, &r->courier_start_item);
    return true;
}

static bool open_control(struct run *r, struct err *e)
{
    char path[PATH_TEXT_MAX];
    if (!paths_control(r->policy->data_directory, path, sizeof path))
        return err_set(e, ERR_PERM, "data_directory %s: too long for the control socket in it",
                       r->policy->data_directory);
    r->admin = (struct admin){.env = &r->env,
                              .home = r->main,
                              .desks = r->desk_list,
                              .desk_count = r->desk_count,
                              .reload = run_reload,
                              .context = r,
                              .started_wall_ms = clock_wall_ms()};
    return control_open(worker_loop(r->main), path, admin_handle, &r->admin, &r->control, e);
}

/* ---- start ---- */

/* The manager's requests are posted to main, so main's desk is there first; and its thread comes
 * before all others, so that no other takes the signals. */
static bool open_home(struct run *r, struct err *e)
{
    const struct service_host_requests requests = {.stop = on_stop,
                                                   .reload = on_reload,
                                                   .reopen = on_reopen,
                                                   .pause = on_pause,
                                                   .resume = on_resume,
                                                   .context = r};
    if (!open_desk(r, &r->home, "main", 0, e))
        return false;
    r->main = r->home.desk.worker;
    r->host_started = service_host_start(&requests, e);
    return r->host_started;
}

static bool start(struct run *r, struct err *e)
{
    bool tls_failed = false;
    if (!run_policy_may_start(r->policy, e) || !process_raise_descriptors(&r->descriptors, e) ||
        !sock_start(e) || !make_folders(r->policy, e))
        return false;
    start_account_helper(r->policy);
    struct tls_renewal found;
    r->tls = run_tls_context(r->policy, &found, &tls_failed, e); /* the key may be root's alone */
    if (tls_failed)
        return false;
    run_certificates_tell(r, &found, false);
    if (!open_home(r, e))
        return false;
    give_files(r->policy);
    /* A copy: the snapshot that named it goes with the first reload. */
    int length =
        snprintf(r->data_directory, sizeof r->data_directory, "%s", r->policy->data_directory);
    if (length < 0 || (size_t)length >= sizeof r->data_directory)
        return err_set(e, ERR_PERM, "service.data_directory: the path is too long");
    r->env.data_directory = r->data_directory;
    atomic_store(&r->env.sequence, (uint_fast64_t)(clock_wall_ms() / 1000) << 28);
    if (!open_desks(r, e) || !open_acceptor(r, e))
        return false;
    acceptor_pause(r->env.acceptor);
    bool privileged = process_is_privileged();
    if (!process_become(r->policy->config->service.user, e) || !process_harden(e))
        return false;
    if (privileged && !process_is_privileged())
        warn_of_the_next_reload(r);
    if (!open_auth(r, e)) /* what only root could read, a keytab say, would prove nothing */
        return false;
    r->env.refusals = refusals_open(r->policy->data_directory, e);
    r->env.rates = rates_new(RATES_SIZE);
    if (r->env.rates == NULL)
        return err_set(e, ERR_TEMP, "limits.rate: no memory");
    return r->env.refusals != NULL && open_queue(r, e) && open_lanes(r, e) && start_workers(r, e) &&
           open_control(r, e) && start_watchdog(r, e) && run_lists_start(r, e) &&
           run_certificates_start(r, e) && run_log_start(r, e);
}

static int load_policy(struct run *r)
{
    struct config_messages m;
    config_messages_init(&m);
    enum config_result result = policy_load(r->config, NULL, 0, &r->policy, &m);
    struct buf line;
    buf_init(&line, 16 * 1024);
    config_messages_sort(&m);
    for (size_t i = 0; i < m.count; i++) {
        buf_reset(&line);
        config_message_format(&m.items[i], &line);
        fprintf(stderr, "%s\n", buf_cstr(&line));
    }
    buf_deinit(&line);
    config_messages_deinit(&m);
    switch (result) {
    case CONFIG_OK: return EXIT_DONE;
    case CONFIG_MISSING: return EXIT_NO_INPUT;
    case CONFIG_IO: return EXIT_IO;
    case CONFIG_INVALID: return EXIT_CONFIG;
    case CONFIG_MEMORY: break;
    }
    return EXIT_INTERNAL;
}

static int exit_code_of(const struct err *e)
{
    static const int codes[] = {[ERR_NONE] = EXIT_INTERNAL,
                                [ERR_TEMP] = EXIT_IO,
                                [ERR_PERM] = EXIT_CONFIG,
                                [ERR_BUG] = EXIT_INTERNAL};
    return codes[e->class];
}

int run_service(const char *config)
{
    struct run *r = calloc(1, sizeof *r);
    struct err e = {0};
    if (r == NULL)
        return EXIT_INTERNAL;
    r->config = config == NULL ? paths_default_config() : config;
    r->stop_item.run = run_stop_requested;
    r->reload_item.run = reload_requested;
    r->reopen_item.run = reopen_requested;
    r->pause_item.run = pause_requested;
    int code = load_policy(r);
    if (code != EXIT_DONE) {
        free(r);
        return code;
    }
    bool ok = run_log_setup(r, r->policy, &e) && start(r, &e);
    if (ok) {
        pickup_start(r->pickup);
        acceptor_resume(r->env.acceptor);
        service_host_ready("serving");
        for (size_t i = 0; i < r->listener_count; i++)
            log_event(LOG_INFO, "listener.open", LOG_S("address", r->listeners[i].address));
        log_event(LOG_INFO, "service.ready", LOG_S("version", POSTERN_VERSION),
                  LOG_S("file", r->config), LOG_U("workers", r->desk_count));
        worker_run(r->main);
    } else {
        fprintf(stderr, "postern serve: %s\n", e.text);
        log_event(LOG_ERROR, "service.start.failed", LOG_S("why", e.text));
        code = exit_code_of(&e);
    }
    if (r->host_started)
        service_host_end();
    run_tear_down(r);
    log_event(LOG_INFO, "service.stopped", LOG_I("code", code));
    free(r);
    return code;
}
