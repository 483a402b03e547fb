/* config.h - Cyrus SASL 2.1.28 by mingw-w64, static. Its own win32/include/config.h is for another
 * compiler: it redefines __attribute__ and sockaddr_storage. */
#ifndef CONFIG_H
#define CONFIG_H

#ifndef WIN32
#define WIN32 1 /* a strict -std= defines only _WIN32 */
#endif
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <tchar.h>
#include <time.h>
#include <winsock2.h>
#include <ws2tcpip.h>

#define PACKAGE "cyrus-sasl"
#define VERSION "2.1.28"
#define PROTOTYPES 1

#define HAVE_GETADDRINFO 1
#define HAVE_GETHOSTNAME 1
#define HAVE_GETNAMEINFO 1
#define HAVE_MEMCPY 1
#define HAVE_OPENSSL 1
#define HAVE_SHA512 1
#define HAVE_SNPRINTF 1
#define HAVE_STDARGS 1
#define HAVE_STDARG_H 1
#define HAVE_STRUCT_SOCKADDR_STORAGE 1
#define HAVE_TIME_H 1
#define HAVE_VSNPRINTF 1

/* The mechanisms that are linked in. */
#define STATIC_ANONYMOUS 1
#define STATIC_CRAMMD5 1
#define STATIC_LOGIN 1
#define STATIC_PLAIN 1
#define STATIC_SCRAM 1

/* Where the library would look when the program gave no SASL_CB_GETPATH and SASL_CB_GETCONFPATH.
 * Postern always gives both. */
#define CONFIGDIR "C:\\Program Files\\Postern\\sasl2"
#define PLUGINDIR "C:\\Program Files\\Postern\\sasl2"
#define SASL_DB_PATH "C:\\Program Files\\Postern\\sasl2\\sasldb2"
#define SASL_ROOT_KEY _T("SOFTWARE\\Postern\\SASL")
#define SASL_PLUGIN_PATH_ATTR _T("SearchPath")
#define SASL_CONF_PATH_ATTR _T("ConfFile")

#define GCC_FALLTHROUGH __attribute__((fallthrough));
#define HIER_DELIMITER '\\'
#define I(foo)
#define I_DEFAULT_GUARD (0)
#define L_DEFAULT_GUARD (0)
#define MAXHOSTNAMELEN 1024
#define VL(foo)
#define VLP(foo, bar)
#define WITHOUT_NANA
#define sasl_getpid GetCurrentProcessId
#define strcasecmp _stricmp
#define strncasecmp _strnicmp

#ifndef sleep
#define sleep(seconds) plug_sleep(seconds)
unsigned int plug_sleep(unsigned int seconds);
#endif

#endif
