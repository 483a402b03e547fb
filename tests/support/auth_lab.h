/* auth_lab.h - a user database in a folder of its own, an auth over it, and clients to try it. */
#ifndef POSTERN_SUPPORT_AUTH_LAB_H
#define POSTERN_SUPPORT_AUTH_LAB_H

#include "auth/auth.h"
#include "auth/client.h"
#include "auth/userdb.h"

struct auth_lab {
    char folder[64];
    char db_path[96];
    struct auth_domain domains[4];
    struct auth_options options;
    struct auth *auth;
    struct userdb *db; /* a second handle, as `postern user` has it */
    struct auth_peer peer;
};

/* Domains: "users" (userdb, alias "people"), "." and "CORP" (system). Accounts, all with the
 * password "secret": alice, app@example.net, and off, which is disabled. TLS with a tls-exporter
 * binding. The options may be changed between _prepare and _open. */
void auth_lab_prepare(struct auth_lab *lab);
void auth_lab_open(struct auth_lab *lab);
void auth_lab_close(struct auth_lab *lab); /* removes the folder */

struct auth_lab_result {
    enum auth_outcome outcome;
    char identity[512];
    char reason[256];
    uint32_t delay_ms;
    unsigned steps;
    /* What went over the wire, base64 and random parts taken out: "334:9 334:84 535". */
    char wire[256];
    bool client_refused; /* our client side gave up; client_error says why */
    char client_error[512];
    bool client_content; /* auth_client_finish was content */
};

/* One login with libsasl2's client on the one side and ours on the other. */
struct auth_lab_result auth_lab_login(struct auth_lab *lab, const char *mechanism, const char *user,
                                      const char *password);
struct auth_lab_result auth_lab_login_as(struct auth_lab *lab, const struct auth_peer *peer,
                                         const struct auth_client_options *client);

/* Sends these messages as they are, the first as the initial response (NULL p = none). */
struct auth_lab_result auth_lab_raw(struct auth_lab *lab, const char *mechanism,
                                    const struct span *messages, size_t count);

/* A SCRAM client made by hand (RFC 5802), for what libsasl2's would never send. */
struct hand_scram {
    const char *gs2;  /* "n,,", "y,,", "p=tls-exporter,," */
    const char *user; /* already escaped */
    const char *password;
    struct span binding;   /* what is put behind gs2 in c= */
    const char *final_gs2; /* NULL = gs2; another one is a tampered header */
    bool break_proof;
    char server_first[512]; /* out */
    bool server_proved;     /* out: v= was right */
};
struct auth_lab_result auth_lab_hand_scram(struct auth_lab *lab, const struct auth_peer *peer,
                                           const char *mechanism, struct hand_scram *h);

struct span auth_lab_plain(char *buffer, const char *authzid, const char *user,
                           const char *password);
void auth_lab_must(bool ok, const struct err *e);

#endif
