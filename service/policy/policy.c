#include "policy/policy.h"

#include "platform/files.h"
#include "policy/build.h"

#include <stdlib.h>
#include <string.h>

enum { POLICY_BYTES_MAX = 64 * 1024 * 1024 };

struct policy *policy_ref(struct policy *p)
{
    if (p != NULL)
        atomic_fetch_add_explicit(&p->references, 1, memory_order_relaxed);
    return p;
}

static void policy_free(struct policy *p)
{
    acl_policy_free(&p->acl);
    acl_policy_free(&p->observed);
    route_policy_free(&p->route);
    config_free(&p->owned_config);
    arena_deinit(&p->arena);
    free(p);
}

void policy_unref(struct policy **p)
{
    struct policy *old = *p;
    *p = NULL;
    if (old != NULL && atomic_fetch_sub_explicit(&old->references, 1, memory_order_acq_rel) == 1)
        policy_free(old);
}

/* The last step: everything is read; compile it, and say what is wrong with the rest. */
static enum config_result compile(struct config *config, enum config_result read,
                                  const struct policy_machine *machine, struct policy **out,
                                  struct config_messages *m)
{
    *out = NULL;
    if (config == NULL)
        return read;
    struct policy *p = calloc(1, sizeof *p);
    if (p == NULL) {
        config_free(&config);
        return CONFIG_MEMORY;
    }
    arena_init(&p->arena, POLICY_BYTES_MAX);
    atomic_init(&p->references, 1);
    p->config = p->owned_config = config;
    size_t errors = m->errors;
    bool built = build_policy(p, machine, m);
    config_messages_sort(m);
    if (built && read == CONFIG_OK && m->errors == errors) {
        *out = p;
        return CONFIG_OK;
    }
    policy_free(p);
    return built || m->errors > 0 ? CONFIG_INVALID : CONFIG_MEMORY;
}

enum config_result policy_load_for(const char *path, const struct policy_machine *machine,
                                   struct policy **out, struct config_messages *m)
{
    struct config *config;
    enum config_result read = config_load(path, &config, m);
    return compile(config, read, machine, out, m);
}

enum config_result policy_load(const char *path, const struct netaddr *self, size_t self_count,
                               struct policy **out, struct config_messages *m)
{
    struct policy_machine machine = {.self = self, .self_count = self_count};
    return policy_load_for(path, &machine, out, m);
}

enum config_result policy_parse(const char *path, struct span text,
                                const struct policy_machine *machine, struct policy **out,
                                struct config_messages *m)
{
    struct config *config;
    enum config_result read = config_parse(path, text, &config, m);
    return compile(config, read, machine, out, m);
}

enum config_result policy_load_lists(const struct policy *old, struct policy **out,
                                     struct config_messages *m)
{
    const struct policy_machine machine = {.hostname = old->hostname};
    return policy_parse(old->config->path, old->config->text, &machine, out, m);
}

bool policy_list_file_look(struct policy_list_file *file)
{
    struct files_info info = {0};
    bool there = files_look(file->path, &info, NULL) == FILES_OK;
    file->size = info.size;
    file->modified_wall_ms = info.modified_wall_ms;
    file->identity[0] = info.identity[0];
    file->identity[1] = info.identity[1];
    return there;
}

bool policy_list_file_same(const struct policy_list_file *a, const struct policy_list_file *b)
{
    return a->size == b->size && a->modified_wall_ms == b->modified_wall_ms &&
           a->identity[0] == b->identity[0] && a->identity[1] == b->identity[1];
}

const struct policy_listener *policy_listener_find(const struct policy *p, const char *address)
{
    for (size_t i = 0; i < p->listener_count; i++)
        if (strcmp(p->listeners[i].config->address.text, address) == 0)
            return &p->listeners[i];
    return NULL;
}

const struct config_profile *policy_profile(const struct policy *p, const struct acl_facts *facts)
{
    size_t i = acl_profile_of(p->acl, facts);
    return i == 0 ? NULL : &p->config->access.profiles.items[i - 1];
}

const struct config_profile *policy_profile_by_address(const struct policy *p,
                                                       const struct netaddr *client)
{
    const struct acl_facts facts = {.client = *client, .identity_state = FACT_ABSENT};
    return policy_profile(p, &facts);
}

const char *policy_tls_minimum(const struct policy *p, const struct netaddr *client)
{
    static const char *const versions[] = {NULL, "1.0", "1.1", "1.2", "1.3"};
    const struct config_profile *profile = policy_profile_by_address(p, client);
    return profile == NULL ? NULL : versions[profile->tls_minimum];
}

/* A wildcard does not hold the domain itself. */
static bool domain_holds(const char *name, struct span domain)
{
    if (name[0] != '*')
        return span_is_nocase(domain, name);
    return domain.n > strlen(name + 1) && span_ends_nocase(domain, name + 1);
}

const char *policy_ca_file(const struct policy *p, struct span domain)
{
    const struct policy_authorities *best = NULL;
    for (size_t i = 0; i < p->authorities_count; i++) {
        const struct policy_authorities *a = &p->authorities[i];
        bool exact = a->domain[0] != '*';
        if (!domain_holds(a->domain, domain))
            continue;
        if (best == NULL || exact || strlen(a->domain) > strlen(best->domain))
            best = a;
        if (exact)
            break;
    }
    return best != NULL ? best->file : p->ca_file;
}

unsigned policy_mechanisms(const struct policy *p, bool tls)
{
    const struct auth_options *a = &p->auth;
    unsigned wanted = a->mechanisms, possible = 0;
    bool passwords = a->domain_count > 0, userdb = false; /* every kind can verify a password */
    for (size_t i = 0; i < a->domain_count; i++)
        userdb = userdb || a->domains[i].backend == AUTH_BACKEND_USERDB;
    if (a->integrated.enabled)
        possible |= AUTH_MECHANISMS_INTEGRATED;
    if (userdb && (tls || !a->scram.require_tls))
        possible |= (unsigned)AUTH_SCRAM_SHA_256 | (tls ? (unsigned)AUTH_SCRAM_SHA_256_PLUS : 0);
    if (passwords && a->basic.enabled && (tls || !a->basic.require_tls))
        possible |= (unsigned)AUTH_PLAIN | (unsigned)AUTH_LOGIN;
    return wanted & possible;
}

bool policy_is_open_relay(const struct policy *p, struct acl_reason *why)
{
    struct acl_reason ignored;
    return acl_is_open_relay(p->acl, why != NULL ? why : &ignored);
}
