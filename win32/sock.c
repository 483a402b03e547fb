#include <winsock2.h>

#include <ws2tcpip.h>

#include <iphlpapi.h>
#include <mstcpip.h>

#include "platform/sock.h"
#include "win32/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sock_start(struct err *e)
{
    WSADATA data;
    int code = WSAStartup(MAKEWORD(2, 2), &data);
    char text[SYSTEM_TEXT_MAX];
    return code == 0 || err_set(e, ERR_BUG, "WSAStartup: %s", system_text((uint32_t)code, text));
}

bool sock_address_from(const void *sockaddr, struct sock_address *out)
{
    ADDRESS_FAMILY family = ((const struct sockaddr *)sockaddr)->sa_family;
    *out = (struct sock_address){0};
    if (family == AF_INET) {
        struct sockaddr_in in;
        uint8_t four[4];
        memcpy(&in, sockaddr, sizeof in);
        memcpy(four, &in.sin_addr, 4);
        out->ip = netaddr_v4(four);
        out->port = ntohs(in.sin_port);
        return true;
    }
    if (family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sockaddr, sizeof in6);
        memcpy(out->ip.b, &in6.sin6_addr, 16);
        out->port = ntohs(in6.sin6_port);
        out->scope = in6.sin6_scope_id;
        return true;
    }
    return false;
}

size_t sock_address_to(const struct sock_address *a, void *sockaddr_storage)
{
    if (netaddr_is_v4(&a->ip)) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
        memcpy(&in.sin_addr, a->ip.b + 12, 4);
        memcpy(sockaddr_storage, &in, sizeof in);
        return sizeof in;
    }
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
    in6.sin6_scope_id = a->scope;
    memcpy(&in6.sin6_addr, a->ip.b, 16);
    memcpy(sockaddr_storage, &in6, sizeof in6);
    return sizeof in6;
}

static bool tell_bound(SOCKET s, struct sock_address *bound)
{
    if (bound == NULL)
        return true;
    struct sockaddr_storage ss = {0};
    int n = sizeof ss;
    return getsockname(s, (struct sockaddr *)&ss, &n) == 0 && sock_address_from(&ss, bound);
}

static bool set(SOCKET s, int level, int option, DWORD value)
{
    return setsockopt(s, level, option, (const char *)&value, sizeof value) == 0;
}

static bool be_non_blocking(SOCKET s)
{
    u_long yes = 1;
    return ioctlsocket(s, (long)FIONBIO, &yes) == 0;
}

/* SO_REUSEADDR here would let another program take the port over; this forbids it, and a port in
 * TIME_WAIT can be bound all the same. */
bool sock_listen(const struct sock_address *at, int backlog, intptr_t *out,
                 struct sock_address *bound, struct err *e)
{
    struct sockaddr_storage ss = {0};
    int n = (int)sock_address_to(at, &ss);
    char text[SOCK_ADDRESS_TEXT_MAX], why[SYSTEM_TEXT_MAX];
    sock_address_format(at, text);
    const char *act = "make a socket";
    SOCKET s = WSASocketW(ss.ss_family, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
                          WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (s == INVALID_SOCKET)
        goto fail;
    act = "set options";
    if ((ss.ss_family == AF_INET6 && !set(s, IPPROTO_IPV6, IPV6_V6ONLY, 1)) ||
        !set(s, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1) || !be_non_blocking(s))
        goto fail;
    act = "bind";
    if (bind(s, (const struct sockaddr *)&ss, n) != 0)
        goto fail;
    act = "listen";
    if (listen(s, backlog) != 0 || !tell_bound(s, bound))
        goto fail;
    *out = (intptr_t)s;
    return true;

fail:;
    int code = WSAGetLastError();
    if (s != INVALID_SOCKET)
        (void)closesocket(s);
    bool permanent = code == WSAEACCES || code == WSAEADDRNOTAVAIL || code == WSAEAFNOSUPPORT ||
                     code == WSAEINVAL;
    return err_set(e, permanent ? ERR_PERM : ERR_TEMP, "listener %s: cannot %s: %s", text, act,
                   system_text((uint32_t)code, why));
}

bool sock_adopt(intptr_t listener, struct sock_address *bound, struct err *e)
{
    SOCKET s = (SOCKET)listener;
    BOOL listening = FALSE;
    int n = sizeof listening;
    struct sock_address address;
    if (getsockopt(s, SOL_SOCKET, SO_ACCEPTCONN, (char *)&listening, &n) != 0 || !listening ||
        !tell_bound(s, &address))
        return err_set(e, ERR_PERM, "socket %lld: not a listening TCP socket", (long long)listener);
    if (!be_non_blocking(s) || !SetHandleInformation((HANDLE)s, HANDLE_FLAG_INHERIT, 0))
        return err_set(e, ERR_TEMP, "socket %lld: cannot set flags", (long long)listener);
    if (bound != NULL)
        *bound = address;
    return true;
}

enum sock_accept_result sock_accept(intptr_t listener, intptr_t *out, struct sock_address *peer,
                                    struct sock_address *local)
{
    struct sockaddr_storage ss = {0};
    int n = sizeof ss;
    SOCKET s = accept((SOCKET)listener, (struct sockaddr *)&ss, &n);
    if (s == INVALID_SOCKET) {
        switch (WSAGetLastError()) {
        case WSAEMFILE: return SOCK_ACCEPT_NO_DESCRIPTORS;
        case WSAENOBUFS: return SOCK_ACCEPT_NO_MEMORY;
        case WSAENOTSOCK:
        case WSAEINVAL:
        case WSAEFAULT:
        case WSAEOPNOTSUPP:
        case WSANOTINITIALISED: return SOCK_ACCEPT_FAILED;
        default: return SOCK_ACCEPT_NOTHING;
        }
    }
    (void)SetHandleInformation((HANDLE)s, HANDLE_FLAG_INHERIT, 0);
    if (!be_non_blocking(s) || !sock_address_from(&ss, peer) || !tell_bound(s, local)) {
        (void)closesocket(s);
        return SOCK_ACCEPT_NOTHING;
    }
    (void)set(s, IPPROTO_TCP, TCP_NODELAY, 1);
    *out = (intptr_t)s;
    return SOCK_ACCEPTED;
}

size_t sock_poll(struct sock_poll *entries, size_t n, int timeout_ms)
{
    enum { ON_STACK = 64 };
    WSAPOLLFD few[ON_STACK], *fds = few;
    if (n > ON_STACK) {
        fds = calloc(n, sizeof *fds);
        if (fds == NULL) { /* rather late than never: look at the first ones */
            fds = few;
            n = ON_STACK;
        }
    }
    size_t used = 0; /* WSAPoll has no entry that is to be skipped */
    for (size_t i = 0; i < n; i++) {
        entries[i].ready = false;
        if (entries[i].sock != SOCK_NONE)
            fds[used++] = (WSAPOLLFD){.fd = (SOCKET)entries[i].sock, .events = POLLRDNORM};
    }
    size_t ready = 0, at = 0;
    if (used == 0) {
        Sleep(timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms);
    } else if (WSAPoll(fds, (ULONG)used, timeout_ms) > 0) {
        for (size_t i = 0; i < n; i++) {
            if (entries[i].sock == SOCK_NONE)
                continue;
            entries[i].ready = fds[at++].revents != 0;
            ready += entries[i].ready;
        }
    }
    if (fds != few)
        free(fds);
    return ready;
}

/* A pipe cannot be polled with sockets here: one UDP socket of the loopback address, connected to
 * itself, so that nobody else's datagrams come in. */
bool sock_waker_open(struct sock_waker *w, struct err *e)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int n = sizeof in;
    char why[SYSTEM_TEXT_MAX];
    SOCKET s = WSASocketW(AF_INET, SOCK_DGRAM, IPPROTO_UDP, NULL, 0,
                          WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (s != INVALID_SOCKET && set(s, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1) &&
        bind(s, (struct sockaddr *)&in, n) == 0 &&
        getsockname(s, (struct sockaddr *)&in, &n) == 0 &&
        connect(s, (struct sockaddr *)&in, n) == 0 && be_non_blocking(s)) {
        w->waiting = w->waking = (intptr_t)s;
        return true;
    }
    int code = WSAGetLastError();
    if (s != INVALID_SOCKET)
        (void)closesocket(s);
    return err_set(e, ERR_TEMP, "waker: cannot make a socket: %s",
                   system_text((uint32_t)code, why));
}

void sock_waker_wake(const struct sock_waker *w)
{
    (void)send((SOCKET)w->waking, "", 1, 0); /* a full one already wakes */
}

void sock_waker_drain(const struct sock_waker *w)
{
    char some[16];
    while (recv((SOCKET)w->waiting, some, sizeof some, 0) >= 0)
        continue;
}

void sock_waker_close(struct sock_waker *w)
{
    sock_close(&w->waiting);
    w->waking = SOCK_NONE;
}

size_t sock_send_now(intptr_t sock, struct span bytes)
{
    int part = bytes.n > INT_MAX ? INT_MAX : (int)bytes.n;
    int n = send((SOCKET)sock, (const char *)bytes.p, part, 0);
    return n < 0 ? 0 : (size_t)n;
}

void sock_shutdown_send(intptr_t sock)
{
    (void)shutdown((SOCKET)sock, SD_SEND);
}

bool sock_drop_input(intptr_t sock, size_t *dropped)
{
    char some[4096];
    for (int i = 0; i < 16; i++) { /* a fast sender must not hold the thread */
        int n = recv((SOCKET)sock, some, sizeof some, 0);
        if (n < 0)
            return WSAGetLastError() == WSAEWOULDBLOCK;
        if (n == 0)
            return false;
        *dropped += (size_t)n;
    }
    return true;
}

void sock_close(intptr_t *sock)
{
    if (*sock != SOCK_NONE)
        (void)closesocket((SOCKET)*sock);
    *sock = SOCK_NONE;
}

intptr_t sock_reserve(void)
{
    SOCKET s = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
                          WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    return s == INVALID_SOCKET ? SOCK_NONE : (intptr_t)s;
}

static IP_ADAPTER_ADDRESSES *adapters(ULONG *code)
{
    const ULONG flags = GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_SKIP_DNS_SERVER |
                        GAA_FLAG_SKIP_FRIENDLY_NAME;
    ULONG size = 16 * 1024;
    for (int i = 0; i < 4; i++) { /* it may grow between two calls */
        IP_ADAPTER_ADDRESSES *all = malloc(size);
        *code = ERROR_NOT_ENOUGH_MEMORY;
        if (all == NULL)
            return NULL;
        *code = GetAdaptersAddresses(AF_UNSPEC, flags, NULL, all, &size);
        if (*code == ERROR_SUCCESS)
            return all;
        free(all);
        if (*code != ERROR_BUFFER_OVERFLOW)
            break;
    }
    return NULL;
}

bool sock_interface_addresses(struct netaddr **out, size_t *n, struct err *e)
{
    ULONG code;
    char why[SYSTEM_TEXT_MAX];
    IP_ADAPTER_ADDRESSES *all = adapters(&code);
    if (all == NULL && code != ERROR_NO_DATA)
        return err_set(e, ERR_TEMP, "interfaces: cannot list: GetAdaptersAddresses: %s",
                       system_text(code, why));
    size_t count = 0, used = 0;
    for (IP_ADAPTER_ADDRESSES *a = all; a != NULL; a = a->Next)
        for (IP_ADAPTER_UNICAST_ADDRESS *u = a->FirstUnicastAddress; u != NULL; u = u->Next)
            count++;
    struct netaddr *list = calloc(count + 1, sizeof *list);
    if (list == NULL) {
        free(all);
        return err_set(e, ERR_TEMP, "interfaces: no memory");
    }
    for (IP_ADAPTER_ADDRESSES *a = all; a != NULL; a = a->Next)
        for (IP_ADAPTER_UNICAST_ADDRESS *u = a->FirstUnicastAddress; u != NULL; u = u->Next) {
            struct sock_address address;
            if (sock_address_from(u->Address.lpSockaddr, &address))
                list[used++] = address.ip;
        }
    free(all);
    *out = list;
    *n = used;
    return true;
}
