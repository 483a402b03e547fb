/* sasl_userdb.h - an auxprop plug-in of libsasl2 that lives in this process: it hands the verifier
 * of the exchange's account to SCRAM as *authPassword, and nothing else to nobody. */
#ifndef POSTERN_AUTH_SASL_USERDB_H
#define POSTERN_AUTH_SASL_USERDB_H

#include <sasl/sasl.h>
#include <sasl/saslplug.h>

#define SASL_USERDB_PLUGIN "postern_userdb"

int sasl_userdb_plugin_init(const sasl_utils_t *utils, int max_version, int *out_version,
                            sasl_auxprop_plug_t **plugin, const char *name);

#endif
