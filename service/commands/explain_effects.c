/* What a profile changes without refusing anything, as steps: line ends, TLS versions, the sender,
 * From:. The rule is the profile's key, with its place. */
#include "commands/explain_facts.h"

#include <stdio.h>
#include <string.h>

static struct explain_effect *add(const struct policy *p, const struct config_profile *profile,
                                  const char *step, const char *key, enum acl_stage stage,
                                  struct explain_answer *out)
{
    struct explain_effect *x = &out->effects[out->n_effects++];
    size_t index = (size_t)(profile - p->config->access.profiles.items);
    x->step = step;
    x->stage = stage;
    (void)snprintf(x->rule, sizeof x->rule, "access.profiles[%zu].%s", index, key);
    struct config_pos at = config_where(p->config, x->rule, NULL);
    x->at = (struct acl_position){p->config->path, at.line, at.column};
    return x;
}

static void line_ends(const struct policy *p, const struct config_profile *profile,
                      struct explain_answer *out)
{
    if (profile->bare_lf == CONFIG_LF_LISTENER)
        return;
    bool taken = profile->bare_lf == CONFIG_LF_NORMALISE;
    struct explain_effect *x = add(p, profile, "line-ends", "bare_lf", ACL_CONNECT, out);
    (void)snprintf(x->why, sizeof x->why,
                   taken
                       ? "lines of this client that end in LF alone are taken, and written as CRLF"
                       : "lines of this client that end in LF alone are refused");
    (void)snprintf(x->change, sizeof x->change, "set %s: %s", x->rule,
                   taken ? "reject" : "normalise");
}

static void tls_version(const struct policy *p, const struct config_profile *profile,
                        const struct explain_request *r, struct explain_answer *out)
{
    static const char *const versions[] = {"1.0", "1.1", "1.2", "1.3"};
    const char *minimum = policy_tls_minimum(p, &r->client);
    const char *general = versions[p->config->tls.minimum_version];
    if (minimum == NULL || p->tls == NULL)
        return;
    struct explain_effect *x = add(p, profile, "tls-version", "tls_minimum", ACL_CONNECT, out);
    (void)snprintf(x->why, sizeof x->why, "TLS is spoken with this client from %s on%s%s%s",
                   minimum, strcmp(minimum, general) == 0 ? "" : ", with others from ",
                   strcmp(minimum, general) == 0 ? "" : general,
                   strcmp(minimum, "1.2") < 0 ? ", old ciphers included" : "");
    (void)snprintf(x->change, sizeof x->change, "set %s: default", x->rule);
}

static void fixed_sender(const struct policy *p, const struct config_profile *profile,
                         const struct acl_facts *facts, struct explain_answer *out)
{
    struct span given = span_sub(facts->sender.text, 0, 256);
    if (profile->sender[0] == '\0' || given.n == 0 || span_is(given, profile->sender))
        return;
    struct explain_effect *x = add(p, profile, "fixed-sender", "sender", ACL_MAIL, out);
    (void)snprintf(x->why, sizeof x->why, "the message goes on with the sender %s, not %.*s",
                   profile->sender, SPAN_ARG(given));
    (void)snprintf(x->change, sizeof x->change, "remove %s", x->rule);
}

static void from_header(const struct policy *p, const struct config_profile *profile,
                        struct explain_answer *out)
{
    if (profile->from[0] == '\0')
        return;
    struct explain_effect *x = add(p, profile, "from-header", "from", ACL_MAIL, out);
    (void)snprintf(x->why, sizeof x->why,
                   "From: of the message becomes %s, with the name that it has there",
                   profile->from);
    (void)snprintf(x->change, sizeof x->change, "remove %s", x->rule);
}

void explain_effects(const struct policy *p, const struct explain_request *r,
                     const struct acl_facts *facts, struct explain_answer *out)
{
    const struct acl_reason *last = acl_explain_last(&out->walk);
    const struct config_profile *profile;
    if (r->pickup || last->stage == ACL_CONNECT)
        return;
    profile = policy_profile_by_address(p, &r->client);
    if (profile != NULL) {
        line_ends(p, profile, out);
        tls_version(p, profile, r, out);
    }
    profile = policy_profile(p, facts);
    if (profile != NULL && last->stage == ACL_RCPT) {
        fixed_sender(p, profile, facts, out);
        from_header(p, profile, out);
    }
}
