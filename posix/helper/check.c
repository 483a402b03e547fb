#define _GNU_SOURCE /* crypt_r, getgrouplist */
#include "posix/helper/check.h"

#include "base/secret.h"
#include "posix/helper/names.h"
#include "posix/helper/shadow.h"

#include <crypt.h>
#include <security/pam_appl.h>
#include <shadow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PROMPTS_MAX = 4, SHADOW_LINE_MAX = 4096 };
enum { COUNTED_LEAST_US = 20000 }; /* what a quicker hash costs is lost in the rest of PAM's work */

struct talk {
    const char *password;
    int prompts;
    bool authenticating; /* only then is the password given */
    bool strange;        /* a module asked for something that we do not have */
};

static enum local_account_result say(char text[LOCAL_ACCOUNT_TEXT_MAX], const char *what,
                                     enum local_account_result result)
{
    (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "%s", what);
    return result;
}

/* pam_conv(3). Each prompt without echo gets the password, since two modules in a row may ask;
 * whatever else is asked cannot be answered. Frees and wipes what it had given when it gives up. */
static int converse(int n, const struct pam_message **messages, struct pam_response **responses,
                    void *context)
{
    struct talk *t = context;
    if (n <= 0 || n > PAM_MAX_NUM_MSG)
        return PAM_CONV_ERR;
    struct pam_response *r = calloc((size_t)n, sizeof *r);
    if (r == NULL)
        return PAM_BUF_ERR;
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        int style = messages[i]->msg_style;
        if (style == PAM_TEXT_INFO || style == PAM_ERROR_MSG)
            continue;
        ok = style == PAM_PROMPT_ECHO_OFF && t->authenticating && t->prompts++ < PROMPTS_MAX;
        if (ok)
            r[i].resp = strdup(t->password);
        else
            t->strange = true;
        ok = ok && r[i].resp != NULL;
    }
    if (ok) {
        *responses = r;
        return PAM_SUCCESS;
    }
    for (int i = 0; i < n; i++)
        if (r[i].resp != NULL) {
            secret_wipe_bytes(r[i].resp, strlen(r[i].resp));
            free(r[i].resp);
        }
    free(r);
    return PAM_CONV_ERR;
}

/* Instead of libpam's pause of about two seconds: the pace of guesses is the throttle's matter, and
 * a pause would hold one of the few places. */
static void no_pause(int status, unsigned microseconds, void *context)
{
    (void)status;
    (void)microseconds;
    (void)context;
}

/* What a code of pam_authenticate or pam_acct_mgmt means. */
static enum local_account_result meaning(int code, bool authenticating,
                                         char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    switch (code) {
    case PAM_SUCCESS: return LOCAL_ACCOUNT_OK;
    case PAM_AUTH_ERR:
        if (authenticating)
            return say(text, "wrong password", LOCAL_ACCOUNT_BAD_PASSWORD);
        return say(text, "the rules for accounts refuse it", LOCAL_ACCOUNT_DISABLED);
    case PAM_USER_UNKNOWN: return say(text, "no such account", LOCAL_ACCOUNT_NO_ACCOUNT);
    case PAM_MAXTRIES:
        return say(text, "locked after too many wrong passwords", LOCAL_ACCOUNT_DISABLED);
    case PAM_ACCT_EXPIRED: return say(text, "the account has expired", LOCAL_ACCOUNT_DISABLED);
    case PAM_NEW_AUTHTOK_REQD:
        return say(text, "the password must be changed first", LOCAL_ACCOUNT_DISABLED);
    case PAM_AUTHTOK_EXPIRED: return say(text, "the password has expired", LOCAL_ACCOUNT_DISABLED);
    case PAM_PERM_DENIED:
        return say(text, "not now or not here, by the rules for accounts", LOCAL_ACCOUNT_DISABLED);
    default: break;
    }
    (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "PAM cannot %s: code %d",
                   authenticating ? "authenticate" : "look at the account", code);
    return LOCAL_ACCOUNT_UNAVAILABLE;
}

/* A module may write the name in another way (pam_winbind with winbind's default domain), or map it
 * to another account, as to a guest's; that one did not prove itself. */
static enum local_account_result same_account(pam_handle_t *handle, const char *name,
                                              char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    const void *item = NULL;
    if (pam_get_item(handle, PAM_USER, &item) != PAM_SUCCESS || item == NULL)
        return say(text, "PAM lost the account's name", LOCAL_ACCOUNT_UNAVAILABLE);
    if (names_same(item, name))
        return LOCAL_ACCOUNT_OK;
    (void)snprintf(text, LOCAL_ACCOUNT_TEXT_MAX, "PAM made it the account %.80s",
                   (const char *)item);
    return LOCAL_ACCOUNT_GUEST;
}

static uint64_t spent_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* *cost_us: the processor's time for the password. */
static enum local_account_result ask_pam(const struct check_options *options, const char *service,
                                         const char *name, const char *password, uint64_t *cost_us,
                                         char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    struct talk talk = {.password = password, .authenticating = true};
    const struct pam_conv conv = {.conv = converse, .appdata_ptr = &talk};
    pam_handle_t *handle = NULL;
    int code = options->pam_directory == NULL
                   ? pam_start(service, name, &conv, &handle)
                   : pam_start_confdir(service, name, &conv, options->pam_directory, &handle);
    if (code != PAM_SUCCESS || handle == NULL)
        return say(text, "PAM cannot start", LOCAL_ACCOUNT_UNAVAILABLE);
    union {
        void (*call)(int, unsigned, void *);
        void *item;
    } pause = {.call = no_pause};
    (void)pam_set_item(handle, PAM_FAIL_DELAY, pause.item);
    uint64_t before_us = spent_us();
    code = pam_authenticate(handle, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    *cost_us = spent_us() - before_us;
    enum local_account_result result = meaning(code, true, text);
    talk.authenticating = false;
    /* Without this an expired password would do. */
    if (result == LOCAL_ACCOUNT_OK) {
        code = pam_acct_mgmt(handle, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
        result = meaning(code, false, text);
    }
    if (result == LOCAL_ACCOUNT_OK)
        result = same_account(handle, name, text);
    if (result == LOCAL_ACCOUNT_UNAVAILABLE && talk.strange)
        (void)say(text, "PAM asks for more than a password", result);
    (void)pam_end(handle, code | PAM_DATA_SILENT);
    return result;
}

enum hash_state { HASH_NONE, HASH_LOCKED, HASH_COMPUTED, HASH_AS_DECOY };

/* Whether pam_unix has a hash to compute for that account, and whether as most have it: only then
 * does a wrong password cost what a right one does. */
static enum hash_state look_at_hash(const char *account, const char *decoy)
{
    struct spwd entry, *found = NULL;
    char line[SHADOW_LINE_MAX];
    enum hash_state state = HASH_NONE;
    if (getspnam_r(account, &entry, line, sizeof line, &found) == 0 && found != NULL &&
        found->sp_pwdp != NULL && found->sp_pwdp[0] != '\0') {
        char first = found->sp_pwdp[0];
        state = first == '!' || first == '*'                ? HASH_LOCKED
                : shadow_same_method(found->sp_pwdp, decoy) ? HASH_AS_DECOY
                                                            : HASH_COMPUTED;
    }
    secret_wipe_bytes(line, sizeof line);
    return state;
}

static void spend(const char *setting, const char *password, unsigned hashes)
{
    struct crypt_data *work = calloc(1, sizeof *work);
    if (work == NULL)
        return;
    for (unsigned i = 0; i < hashes; i++)
        (void)crypt_r(password, setting, work);
    secret_wipe_bytes(work, sizeof *work);
    free(work);
}

/* How many hashes PAM's work was: one more of them under the same load tells. */
static unsigned count_hashes(const struct check_options *options, const char *password,
                             uint64_t cost_us)
{
    uint64_t before_us = spent_us();
    spend(options->decoy, password, 1);
    uint64_t one_us = spent_us() - before_us;
    uint64_t n = one_us < COUNTED_LEAST_US ? 0 : (cost_us + one_us / 2) / one_us;
    return n > CHECK_HASHES_MAX ? CHECK_HASHES_MAX : (unsigned)n;
}

static enum local_account_result verify(const struct check_options *options,
                                        const struct account_question *q, const char *name,
                                        const char *password, unsigned *hashes,
                                        char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    char service[ACCOUNT_SERVICE_MAX + 1];
    bool local = q->domain.n == 0;
    if (!span_cstr(q->service, service, sizeof service))
        return say(text, "the PAM service is malformed", LOCAL_ACCOUNT_UNAVAILABLE);
    enum hash_state hash = local ? look_at_hash(name, options->decoy) : HASH_NONE;
    uint64_t cost_us = 0;
    bool asked = false;
    enum local_account_result result = names_refused(name, q->account, text);
    if (result == LOCAL_ACCOUNT_OK) {
        result = ask_pam(options, service, name, password, &cost_us, text);
        asked = true;
    }
    /* The work of a wrong password, for who has none. */
    if (local && result != LOCAL_ACCOUNT_OK && result != LOCAL_ACCOUNT_UNAVAILABLE &&
        !(asked && hash >= HASH_COMPUTED))
        spend(options->decoy, password, options->decoy_hashes);
    if (result == LOCAL_ACCOUNT_OK && hash == HASH_AS_DECOY && options->count)
        *hashes = count_hashes(options, password, cost_us);
    if (result == LOCAL_ACCOUNT_BAD_PASSWORD && hash == HASH_LOCKED)
        result = say(text, "the account is locked", LOCAL_ACCOUNT_DISABLED);
    return result;
}

enum local_account_result check_answer(const struct check_options *options,
                                       const struct account_question *q, unsigned *hashes,
                                       char text[LOCAL_ACCOUNT_TEXT_MAX])
{
    char name[NAMES_BYTES_MAX], password[ACCOUNT_PASSWORD_MAX + 1];
    text[0] = '\0';
    *hashes = 0;
    if (!names_join(q->domain, q->account, name, sizeof name))
        return say(text, "the name does not fit", LOCAL_ACCOUNT_NO_ACCOUNT);
    enum local_account_result result;
    if (q->act == ACCOUNT_VERIFY) {
        if (!span_cstr(q->password, password, sizeof password))
            return say(text, "the password does not fit", LOCAL_ACCOUNT_BAD_PASSWORD);
        result = verify(options, q, name, password, hashes, text);
        secret_wipe_bytes(password, sizeof password);
    } else {
        result = names_refused(name, q->account, text);
    }
    if (result == LOCAL_ACCOUNT_OK && (q->group_count > 0 || q->act == ACCOUNT_MEMBER))
        result = names_member(name, q, text);
    return result;
}
