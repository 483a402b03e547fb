#include "admin/requests.h"

#include "admin/queue_requests.h"
#include "session/courier.h"
#include "session/inbound.h"

#include <stdlib.h>
#include <string.h>

/* ---- the queue ---- */

struct queue_job {
    struct lane_job job;
    struct session_env *env;
    struct control_request *request;
    json_t *body, *result;
    int code;
    struct err e;
};

static void queue_run(struct lane_job *job, void *context)
{
    struct queue_job *j = LIST_ENTRY(job, struct queue_job, job);
    j->result = queue_request(context, j->body, session_queue_now(j->env), &j->code, &j->e);
}

/* "retry" and "release": whatever was put off may be tried. */
static bool asks_for_a_try(const json_t *body)
{
    const char *verb = json_string_value(json_object_get(body, "command"));
    return verb != NULL && (strcmp(verb, "queue.retry") == 0 || strcmp(verb, "queue.release") == 0);
}

static void queue_done(struct lane_job *job)
{
    struct queue_job *j = LIST_ENTRY(job, struct queue_job, job);
    if (job->failed) {
        json_decref(j->result);
        control_refuse(j->request, 74, "queue: %s", job->err.text);
    } else if (j->result == NULL) {
        control_refuse(j->request, j->code, "queue: %s", j->e.text);
    } else {
        control_answer(j->request, j->result);
        if (asks_for_a_try(j->body))
            courier_try_now(j->env->courier);
        else
            courier_wake(j->env->courier);
    }
    json_decref(j->body);
    free(j);
}

static void queue_start(struct admin *a, struct control_request *request, json_t *body)
{
    struct queue_job *j = calloc(1, sizeof *j);
    if (j != NULL) {
        j->env = a->env;
        j->request = request;
        j->body = json_incref(body);
        j->job = (struct lane_job){.run = queue_run, .done = queue_done, .home = a->home};
        if (lane_submit(a->env->store_lane, &j->job) == LANE_OK)
            return;
        json_decref(j->body);
        free(j);
    }
    control_refuse(request, 74, "queue: the store has too much to do");
}

/* ---- sessions: one visit of every desk ---- */

struct visit {
    struct worker_item item;
    struct admin *admin;
    struct control_request *request;
    size_t desk;
    json_t *sessions; /* sessions.list */
    char *id;         /* sessions.close */
    bool closed;
};

static void add_session(void *arg, const struct inbound_status *s)
{
    json_t *list = arg;
    char client[SOCK_ADDRESS_TEXT_MAX];
    sock_address_format(&s->client, client);
    json_t *helo = json_stringn((const char *)s->helo.p, s->helo.n);
    json_array_append_new(list,
                          json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:I, s:I}", "id", s->id,
                                    "client", client, "listener", s->listener, "user", s->identity,
                                    "helo", helo == NULL ? json_string("?") : helo, "tls", s->tls,
                                    "state", s->state, "since_ms", (json_int_t)s->since_wall_ms,
                                    "messages", (json_int_t)s->messages));
}

static void visit_end(struct worker_item *item, struct worker *w)
{
    (void)w;
    struct visit *v = LIST_ENTRY(item, struct visit, item);
    if (v->id == NULL)
        control_answer(v->request, v->sessions);
    else if (v->closed)
        control_answer(v->request, json_string(v->id));
    else
        control_refuse(v->request, 1, "sessions: %s: no such session", v->id);
    free(v->id);
    free(v);
}

static void visit_run(struct worker_item *item, struct worker *w)
{
    (void)w;
    struct visit *v = LIST_ENTRY(item, struct visit, item);
    struct session_desk *d = v->admin->desks[v->desk++];
    if (v->id == NULL)
        inbound_list(d, add_session, v->sessions);
    else
        v->closed = v->closed || inbound_close(d, v->id);
    bool more = v->desk < v->admin->desk_count;
    v->item.run = more ? visit_run : visit_end;
    worker_post(more ? v->admin->desks[v->desk]->worker : v->admin->home, &v->item);
}

static void visit_start(struct admin *a, struct control_request *request, const char *id)
{
    struct visit *v = calloc(1, sizeof *v);
    char *copy = id == NULL ? NULL : malloc(strlen(id) + 1);
    if (v == NULL || (id != NULL && copy == NULL)) {
        free(v);
        free(copy);
        control_refuse(request, 74, "sessions: no memory");
        return;
    }
    v->admin = a;
    v->request = request;
    v->id = id == NULL ? NULL : strcpy(copy, id);
    v->sessions = id == NULL ? json_array() : NULL;
    v->item.run = visit_run;
    worker_post(a->desks[0]->worker, &v->item);
}

/* ---- the rest ---- */

static json_t *status(const struct admin *a)
{
    struct session_counters *n = &a->env->counters;
#define COUNTER(name) #name, (json_int_t)atomic_load(&n->name)
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                     "started_ms", (json_int_t)a->started_wall_ms, "connections",
                     (json_int_t)acceptor_connections(a->env->acceptor), COUNTER(sessions),
                     COUNTER(messages_accepted), COUNTER(bytes_accepted),
                     COUNTER(refused_connections), COUNTER(refused_recipients), COUNTER(auth_ok),
                     COUNTER(auth_failed), COUNTER(delivered), COUNTER(deferred), COUNTER(failed),
                     COUNTER(notices));
#undef COUNTER
}

enum { GUESSES_MAX = 600 };

static json_t *guess_json(const struct auth_guesses *g)
{
    json_t *who = json_string(g->who); /* cut within a character it is no UTF-8 */
    json_t *o = json_pack("{s:o, s:I, s:I}", g->of == AUTH_GUESSES_OF_PEER ? "client" : "user",
                          who == NULL ? json_string("?") : who, "failures", (json_int_t)g->failures,
                          "refused_ms", (json_int_t)g->refused_ms);
    if (o != NULL && g->of != AUTH_GUESSES_AT_DOMAIN)
        json_object_set_new(o, "guesses", json_integer((json_int_t)g->guesses));
    return o;
}

/* Wrong passwords as they are counted now. NULL without memory. */
static json_t *guesses(const struct admin *a)
{
    static const char *const names[] = {[AUTH_GUESSES_OF_PEER] = "clients",
                                        [AUTH_GUESSES_OF_ACCOUNT] = "users",
                                        [AUTH_GUESSES_AT_DOMAIN] = "domain_users"};
    bool more = false;
    struct auth_guesses *list = calloc(GUESSES_MAX, sizeof *list);
    json_t *all = json_pack("{s:[], s:[], s:[]}", names[0], names[1], names[2]);
    size_t n = list == NULL || a->env->auth == NULL
                   ? 0
                   : auth_guesses(a->env->auth, list, GUESSES_MAX, &more);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(json_object_get(all, names[list[i].of]), guess_json(&list[i]));
    if (all != NULL)
        json_object_set_new(all, "more", json_boolean(more));
    free(list);
    return all;
}

void admin_handle(void *context, struct control_request *request, json_t *body)
{
    struct admin *a = context;
    const char *command = json_string_value(json_object_get(body, "command"));
    const char *id = json_string_value(json_object_get(body, "id"));
    struct err e = {0};
    if (command == NULL)
        control_refuse(request, 64, "request: no command");
    else if (strncmp(command, "queue.", 6) == 0)
        queue_start(a, request, body);
    else if (strcmp(command, "sessions.list") == 0)
        visit_start(a, request, NULL);
    else if (strcmp(command, "sessions.close") == 0 && id != NULL)
        visit_start(a, request, id);
    else if (strcmp(command, "sessions.guesses") == 0)
        control_answer(request, guesses(a));
    else if (strcmp(command, "status") == 0)
        control_answer(request, status(a));
    else if (strcmp(command, "reload") != 0)
        control_refuse(request, 64, "request: unknown command");
    else if (a->reload(a->context, &e))
        control_answer(request, json_true());
    else
        control_refuse(request, 78, "%s", e.text);
}
