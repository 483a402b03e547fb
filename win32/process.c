#include "platform/process.h"

#include "base/span.h"
#include "win32/text.h"

#include <windows.h>

#include <shellapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* main's own is in the code page of the machine, and what is not in that page is lost. */
void process_arguments(int *argc, char ***argv)
{
    int n = 0;
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &n);
    char **utf8 = wide == NULL ? NULL : calloc((size_t)n + 1, sizeof *utf8);
    bool ok = utf8 != NULL;
    for (int i = 0; ok && i < n; i++) {
        size_t size = wcslen(wide[i]) * 3 + 1;
        utf8[i] = malloc(size);
        ok = utf8[i] != NULL && text_from_wide(wide[i], utf8[i], size);
    }
    LocalFree(wide);
    if (!ok) /* a lone surrogate, which no name of ours can hold: what main got is as good */
        return;
    *argc = n;
    *argv = utf8;
}

/* Sockets and files are handles here, and only memory bounds them. */
bool process_raise_descriptors(uint64_t *limit, struct err *e)
{
    (void)e;
    *limit = UINT64_MAX;
    return true;
}

/* The question is whether rights are to be given up after the start. Here a service has its account
 * from the first moment. */
bool process_is_privileged(void)
{
    return false;
}

void process_user(char *out, size_t size)
{
    wchar_t wide[256];
    DWORD n = sizeof wide / sizeof *wide;
    if (size > 0)
        out[0] = 0;
    if (!GetUserNameW(wide, &n) || !text_from_wide(wide, out, size))
        return;
}

bool process_become(const char *user, struct err *e)
{
    if (user == NULL || user[0] == 0)
        return true;
    return err_set(e, ERR_PERM,
                   "service.user: %s: a process cannot become another user on Windows; the "
                   "service's account is set by postern service install",
                   user);
}

bool process_harden(struct err *e)
{
    (void)e; /* what an older Windows does not know is no reason not to serve */
    (void)HeapSetInformation(NULL, HeapEnableTerminationOnCorruption, NULL, 0);
    (void)SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
    (void)SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_SYSTEM32);
    PROCESS_MITIGATION_STRICT_HANDLE_CHECK_POLICY handles = {
        .RaiseExceptionOnInvalidHandleReference = 1, .HandleExceptionsPermanentlyEnabled = 1};
    PROCESS_MITIGATION_EXTENSION_POINT_DISABLE_POLICY extensions = {.DisableExtensionPoints = 1};
    PROCESS_MITIGATION_IMAGE_LOAD_POLICY images = {.NoRemoteImages = 1,
                                                   .NoLowMandatoryLabelImages = 1};
    (void)SetProcessMitigationPolicy(ProcessStrictHandleCheckPolicy, &handles, sizeof handles);
    (void)SetProcessMitigationPolicy(ProcessExtensionPointDisablePolicy, &extensions,
                                     sizeof extensions);
    (void)SetProcessMitigationPolicy(ProcessImageLoadPolicy, &images, sizeof images);
    return true;
}

unsigned process_cores(void)
{
    DWORD_PTR ours = 0, all = 0;
    unsigned n = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &ours, &all))
        for (; ours != 0; ours &= ours - 1)
            n++;
    DWORD active = n == 0 ? GetActiveProcessorCount(ALL_PROCESSOR_GROUPS) : n;
    return active == 0 ? 1 : (unsigned)active;
}

uint64_t process_id(void)
{
    return GetCurrentProcessId();
}

/* Asked for by name: it came with Windows 10 and Server 2016. */
void process_name_thread(const char *name)
{
    typedef HRESULT(WINAPI * describe)(HANDLE thread, PCWSTR text);
    union {
        FARPROC any;
        describe call;
    } found = {.any = GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "SetThreadDescription")};
    wchar_t wide[16];
    char cut[16];
    (void)snprintf(cut, sizeof cut, "%s", name);
    if (found.any != NULL && text_to_wide(cut, wide, sizeof wide / sizeof *wide))
        (void)found.call(GetCurrentThread(), wide);
}

static bool computer_name(COMPUTER_NAME_FORMAT format, char *out, size_t size)
{
    wchar_t wide[256];
    DWORD n = sizeof wide / sizeof *wide;
    char name[256];
    if (!GetComputerNameExW(format, wide, &n) || !text_from_wide(wide, name, sizeof name) ||
        name[0] == 0)
        return false;
    ascii_lower_str(name);
    (void)snprintf(out, size, "%s", name);
    return true;
}

void process_machine_name(char *out, size_t size)
{
    if (!computer_name(ComputerNameDnsHostname, out, size))
        (void)snprintf(out, size, "localhost");
}

void process_hostname(char *out, size_t size)
{
    if (!computer_name(ComputerNameDnsFullyQualified, out, size))
        process_machine_name(out, size);
}

void process_exit_now(int code)
{
    (void)TerminateProcess(GetCurrentProcess(), (UINT)code);
    for (;;) /* does not return for the own process */
        Sleep(INFINITE);
}
