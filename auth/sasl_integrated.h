/* sasl_integrated.h - inside the auth room: GSSAPI, GSS-SPNEGO and NTLM as a server plug-in of
 * libsasl2 within our own process, over platform/integrated_auth.h. On the exchange's own thread.
 *
 * Whatever the mechanism's name, the first token tells what it is (gss_token.h):
 *                     raw Kerberos    SPNEGO        raw NTLM
 *   AUTH GSSAPI       yes, layer step Kerberos: yes, layer step; NTLM: where NTLM is offered
 *   AUTH GSS-SPNEGO   no              yes           where NTLM is offered
 *   AUTH NTLM         no              no            yes
 *
 *   TOKEN     -> the client's first token is awaited; an empty one is asked for once
 *   HANDSHAKE -> tokens go to and fro
 *   LAST      -> the handshake is done, our last token is on its way; the client says nothing
 *   LAYER     -> RFC 4752 section 3.1: which security layer; we offer none, and it proves the key
 * A 235 comes only after at least one 334: .NET recognises no other (System.Net.Mail). */
#ifndef POSTERN_AUTH_SASL_INTEGRATED_H
#define POSTERN_AUTH_SASL_INTEGRATED_H

#include "auth/auth.h"

#include <sasl/sasl.h>
#include <sasl/saslplug.h>

#define SASL_INTEGRATED_PLUGIN "postern-integrated"

int sasl_integrated_plugin_init(const sasl_utils_t *utils, int max_version, int *out_version,
                                sasl_server_plug_t **plugins, int *count);

struct auth_exchange;

/* The lane of the step that brings this. */
unsigned exchange_integrated_lane(const struct auth_exchange *x, struct span in);
void exchange_integrated_end(struct auth_exchange *x);

#endif
