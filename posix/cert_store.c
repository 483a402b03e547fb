/* There is no certificate store here: certificates and roots are files. */
#include "platform/cert_chain.h"
#include "platform/cert_store.h"

#include <stddef.h>

const struct cert_store *cert_store_system(void)
{
    return NULL;
}

cert_chain_verify *cert_chain_system(void)
{
    return NULL;
}
