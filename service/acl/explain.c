#include "acl/explain.h"

#include "acl/policy.h"

void acl_explain(const struct acl_policy *policy, const struct acl_facts *facts,
                 struct acl_explanation *out)
{
    static const enum acl_stage stages[ACL_STAGES] = {ACL_CONNECT, ACL_MAIL, ACL_RCPT};
    out->n = 0;
    out->outcome = ACL_ALLOWED;
    for (size_t i = 0; i < ACL_STAGES && out->outcome == ACL_ALLOWED; i++) {
        switch (acl_decide(policy, stages[i], facts, &out->steps[out->n++])) {
        case ACL_ALLOW: break;
        case ACL_DENY: out->outcome = ACL_REFUSED; break;
        case ACL_DEFER:
        case ACL_NEED: out->outcome = ACL_CANNOT_TELL; break;
        }
    }
}

const struct acl_reason *acl_explain_last(const struct acl_explanation *x)
{
    return &x->steps[x->n - 1];
}

const char *acl_outcome_name(enum acl_outcome outcome)
{
    switch (outcome) {
    case ACL_ALLOWED: return "allowed";
    case ACL_REFUSED: return "refused";
    case ACL_CANNOT_TELL: break;
    }
    return "unknown";
}

const char *acl_stage_name(enum acl_stage stage)
{
    switch (stage) {
    case ACL_CONNECT: return "connect";
    case ACL_MAIL: return "mail";
    case ACL_RCPT: break;
    }
    return "rcpt";
}

bool acl_reason_reply(const struct acl_reason *reason, struct buf *out)
{
    if (reason->code == 0)
        return true;
    return buf_addf(out, "%u %s %s", reason->code, reason->enhanced, reason->text);
}

static const char *verdict_name(enum acl_verdict verdict)
{
    switch (verdict) {
    case ACL_ALLOW: return "allowed";
    case ACL_DENY: return "refused";
    case ACL_DEFER: return "not now";
    case ACL_NEED: break;
    }
    return "unknown";
}

static void add_step(const struct acl_reason *r, struct buf *out)
{
    (void)buf_addf(out, "%-8s %-8s %s: %s", acl_stage_name(r->stage), verdict_name(r->verdict),
                   r->rule, r->why);
    if (r->at.line > 0)
        (void)buf_addf(out, " (%s:%u)", r->at.file == NULL ? "" : r->at.file, r->at.line);
    (void)buf_add_byte(out, '\n');
}

bool acl_explain_text(const struct acl_explanation *x, struct buf *out)
{
    const struct acl_reason *r = acl_explain_last(x);
    for (size_t i = 0; i < x->n; i++)
        add_step(&x->steps[i], out);
    (void)buf_addf(out, "\nverdict: %s\nrule:    %s\n", acl_outcome_name(x->outcome), r->rule);
    if (r->at.line > 0)
        (void)buf_addf(out, "at:      %s:%u\n", r->at.file == NULL ? "" : r->at.file, r->at.line);
    if (r->entry[0] != '\0')
        (void)buf_addf(out, "entry:   %s\n", r->entry);
    if (r->code != 0) {
        (void)buf_add_str(out, "reply:   ");
        (void)acl_reason_reply(r, out);
        (void)buf_add_byte(out, '\n');
    }
    if (r->change[0] != '\0')
        (void)buf_addf(out, "change:  %s\n", r->change);
    return !out->failed;
}
