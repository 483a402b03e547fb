/* The Windows side of platform/service_control.h: the service control manager.
 * What install sets: one process of its own, started with the machine but after what cannot wait,
 * under the virtual account NT SERVICE\Postern with its security identifier and no privilege but
 * that of passing through folders; restarted after it fails, later each time; a minute to finish
 * before the machine goes down; the source of the event log; the data directory for it and the
 * administrators alone; where there is no configuration, a first one that relays nothing. */
#include "platform/service_control.h"

#include "platform/clock.h"
#include "platform/paths.h"
#include "win32/first_config.h"
#include "win32/rights.h"
#include "win32/text.h"

#include <windows.h>

#include <stdio.h>
#include <string.h>

static const wchar_t service_name[] = L"Postern";
static const wchar_t event_key[] =
    L"SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\Postern";

enum {
    COMMAND_MAX = 2 * PATH_TEXT_MAX,
    POLL_MS = 100,
    PATIENCE_MS = 90000, /* without a new checkpoint */
    PRESHUTDOWN_MS = 60000,
    FORGIVEN_AFTER_S = 24 * 60 * 60,
};

const char *service_control_manager(void)
{
    return "the service control manager";
}

static enum service_control_result failed(struct err *e, const char *call)
{
    DWORD code = GetLastError();
    char text[SYSTEM_TEXT_MAX];
    (void)err_set(
        e, ERR_PERM, "%s: %s%s", call, system_text(code, text),
        code == ERROR_ACCESS_DENIED ? "; run it as an administrator, from an elevated prompt" : "");
    return SERVICE_CONTROL_FAILED;
}

/* The two handles of one act. */
struct scm {
    SC_HANDLE manager, service;
};

static void scm_close(struct scm *s)
{
    if (s->service != NULL)
        (void)CloseServiceHandle(s->service);
    if (s->manager != NULL)
        (void)CloseServiceHandle(s->manager);
    *s = (struct scm){0};
}

static enum service_control_result scm_open(struct scm *s, DWORD manager_access,
                                            DWORD service_access, struct err *e)
{
    *s = (struct scm){.manager = OpenSCManagerW(NULL, NULL, manager_access)};
    if (s->manager == NULL)
        return failed(e, "OpenSCManager");
    s->service = OpenServiceW(s->manager, service_name, service_access);
    if (s->service != NULL)
        return SERVICE_CONTROL_DONE;
    bool absent = GetLastError() == ERROR_SERVICE_DOES_NOT_EXIST;
    enum service_control_result result =
        absent ? SERVICE_CONTROL_ABSENT : failed(e, "OpenService Postern");
    if (absent)
        (void)err_set(e, ERR_PERM, "the service is not installed; postern service install does it");
    return result;
}

/* ---- install ---- */

/* "C:\...\postern.exe" serve [-c "C:\...\postern.yaml"]. A file name cannot hold a quote. */
static bool command_line(const char *config, wchar_t *out, struct err *e)
{
    wchar_t program[PATH_TEXT_MAX];
    DWORD n = GetModuleFileNameW(NULL, program, PATH_TEXT_MAX);
    if (n == 0 || n >= PATH_TEXT_MAX)
        return call_failed(e, "GetModuleFileName");
    struct wide_path file = {.text = L""};
    if (config != NULL && !path_to_wide(config, &file))
        return act_failed(e, config, "name it");
    int wrote = config == NULL
                    ? _snwprintf(out, COMMAND_MAX, L"\"%ls\" serve", program)
                    : _snwprintf(out, COMMAND_MAX, L"\"%ls\" serve -c \"%ls\"", program, file.text);
    return (wrote > 0 && wrote < COMMAND_MAX) ||
           err_set(e, ERR_PERM, "the command line is too long");
}

/* One setting; what this Windows does not know is said and no reason to fail. */
static bool set_one(SC_HANDLE service, DWORD level, void *value, const char *what, struct buf *said,
                    struct err *e)
{
    if (ChangeServiceConfig2W(service, level, value))
        return true;
    DWORD code = GetLastError();
    char text[SYSTEM_TEXT_MAX];
    if (code == ERROR_INVALID_LEVEL || code == ERROR_CALL_NOT_IMPLEMENTED) {
        buf_addf(said, "note: this system has no %s: ChangeServiceConfig2: %s\n", what,
                 system_text(code, text));
        return true;
    }
    return err_set(e, ERR_PERM, "%s: ChangeServiceConfig2: %s", what, system_text(code, text));
}

static bool set_all(SC_HANDLE service, struct buf *said, struct err *e)
{
    wchar_t text[] = L"Relays mail by SMTP for the clients that its configuration allows.";
    wchar_t privileges[] = L"SeChangeNotifyPrivilege\0"; /* the list ends with an empty word */
    SERVICE_DESCRIPTIONW description = {text};
    SERVICE_DELAYED_AUTO_START_INFO delayed = {TRUE};
    SERVICE_SID_INFO sid = {SERVICE_SID_TYPE_UNRESTRICTED};
    SERVICE_REQUIRED_PRIVILEGES_INFOW needs = {privileges};
    SERVICE_PRESHUTDOWN_INFO preshutdown = {PRESHUTDOWN_MS};
    SC_ACTION restarts[] = {
        {SC_ACTION_RESTART, 5000}, {SC_ACTION_RESTART, 60000}, {SC_ACTION_RESTART, 300000}};
    SERVICE_FAILURE_ACTIONSW failure = {
        .dwResetPeriod = FORGIVEN_AFTER_S, .cActions = 3, .lpsaActions = restarts};
    SERVICE_FAILURE_ACTIONS_FLAG every_failure = {TRUE};
    return set_one(service, SERVICE_CONFIG_DESCRIPTION, &description, "description", said, e) &&
           set_one(service, SERVICE_CONFIG_DELAYED_AUTO_START_INFO, &delayed, "delayed start", said,
                   e) &&
           set_one(service, SERVICE_CONFIG_SERVICE_SID_INFO, &sid, "service SID", said, e) &&
           set_one(service, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, &needs, "list of privileges",
                   said, e) &&
           set_one(service, SERVICE_CONFIG_PRESHUTDOWN_INFO, &preshutdown, "preshutdown time", said,
                   e) &&
           set_one(service, SERVICE_CONFIG_FAILURE_ACTIONS, &failure, "failure actions", said, e) &&
           set_one(service, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, &every_failure,
                   "failure actions after an error", said, e);
}

static bool make_event_source(struct err *e)
{
    wchar_t program[PATH_TEXT_MAX];
    DWORD n = GetModuleFileNameW(NULL, program, PATH_TEXT_MAX),
          types = 7; /* error, warning, info */
    HKEY key;
    if (n == 0 || n >= PATH_TEXT_MAX)
        return call_failed(e, "GetModuleFileName");
    LSTATUS code =
        RegCreateKeyExW(HKEY_LOCAL_MACHINE, event_key, 0, NULL, 0, KEY_SET_VALUE, NULL, &key, NULL);
    if (code == ERROR_SUCCESS) {
        code = RegSetValueExW(key, L"EventMessageFile", 0, REG_EXPAND_SZ, (const BYTE *)program,
                              (n + 1) * (DWORD)sizeof *program);
        if (code == ERROR_SUCCESS)
            code = RegSetValueExW(key, L"TypesSupported", 0, REG_DWORD, (const BYTE *)&types,
                                  sizeof types);
        (void)RegCloseKey(key);
    }
    SetLastError((DWORD)code);
    return code == ERROR_SUCCESS || call_failed(e, "event source: RegSetValueEx");
}

static bool nobody_was_first(struct err *e)
{
    const char *folder = paths_default_data_directory();
    struct wide_path wide;
    return path_to_wide(folder, &wide) ? rights_owned_folder(wide.text, folder, e)
                                       : act_failed(e, folder, "make the folder");
}

/* The folder of ProgramData; another one in the configuration is made when the service starts. */
static bool make_data_directory(struct buf *said, struct err *e)
{
    const char *folder = paths_default_data_directory();
    struct wide_path wide;
    if (!path_to_wide(folder, &wide))
        return act_failed(e, folder, "make the folder");
    if (rights_make_folder(wide.text)) {
        buf_addf(said, "made %s, for the service and administrators only\n", folder);
        return true;
    }
    if (GetLastError() != ERROR_ALREADY_EXISTS)
        return act_failed(e, folder, "make the folder");
    return rights_protect_folder(wide.text, e);
}

static enum service_control_result create(struct scm *s, const wchar_t *command, struct buf *said,
                                          struct err *e)
{
    static const wchar_t display[] = L"Postern SMTP relay", account[] = L"NT SERVICE\\Postern";
    s->manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE);
    if (s->manager == NULL)
        return failed(e, "OpenSCManager");
    s->service = CreateServiceW(s->manager, service_name, display, SERVICE_ALL_ACCESS,
                                SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START, SERVICE_ERROR_NORMAL,
                                command, NULL, NULL, NULL, account, NULL);
    if (s->service != NULL) {
        buf_add_str(said, "installed the service Postern, account NT SERVICE\\Postern\n");
        return SERVICE_CONTROL_DONE;
    }
    if (GetLastError() != ERROR_SERVICE_EXISTS)
        return failed(e, "CreateService Postern");
    s->service = OpenServiceW(s->manager, service_name, SERVICE_ALL_ACCESS);
    if (s->service == NULL)
        return failed(e, "OpenService Postern");
    /* The account stays: an administrator may have given it another one. */
    if (!ChangeServiceConfigW(s->service, SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START,
                              SERVICE_ERROR_NORMAL, command, NULL, NULL, NULL, NULL, NULL, display))
        return failed(e, "ChangeServiceConfig Postern");
    buf_add_str(said, "the service Postern is installed already; brought up to date\n");
    return SERVICE_CONTROL_DONE;
}

enum service_control_result service_control_install(const char *config, struct buf *said,
                                                    struct err *e)
{
    struct scm s = {0};
    wchar_t command[COMMAND_MAX];
    if (!command_line(config, command, e) || !nobody_was_first(e))
        return SERVICE_CONTROL_FAILED;
    enum service_control_result result = create(&s, command, said, e);
    if (result == SERVICE_CONTROL_DONE &&
        !(set_all(s.service, said, e) && make_event_source(e) && make_data_directory(said, e) &&
          (config != NULL || first_config_write(paths_default_config(), said, e))))
        result = SERVICE_CONTROL_FAILED;
    scm_close(&s);
    if (result == SERVICE_CONTROL_DONE)
        buf_add_str(said, "the firewall is left as it is; to let clients in, as an administrator:\n"
                          "    netsh advfirewall firewall add rule name=\"Postern SMTP\" dir=in "
                          "action=allow protocol=TCP localport=25 service=Postern\n");
    return result;
}

/* ---- the state ---- */

static bool query(SC_HANDLE service, SERVICE_STATUS_PROCESS *out)
{
    DWORD size = 0;
    return QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)out, sizeof *out, &size);
}

/* Waits while the state is pending; as long as there are new checkpoints there is patience. */
static enum service_control_result wait_for(SC_HANDLE service, DWORD pending, DWORD wanted,
                                            const char *what, struct err *e)
{
    SERVICE_STATUS_PROCESS now = {0};
    uint64_t patience = clock_monotonic_ms() + PATIENCE_MS;
    DWORD checkpoint = 0;
    for (;;) {
        if (!query(service, &now))
            return failed(e, "QueryServiceStatusEx Postern");
        if (now.dwCurrentState == wanted)
            return SERVICE_CONTROL_DONE;
        if (now.dwCurrentState == SERVICE_STOPPED)
            break;
        if (now.dwCurrentState == pending && now.dwCheckPoint != checkpoint) {
            checkpoint = now.dwCheckPoint;
            patience = clock_monotonic_ms() + PATIENCE_MS;
        }
        if (clock_monotonic_ms() > patience) {
            (void)err_set(e, ERR_TEMP, "%s: the service does not answer any more", what);
            return SERVICE_CONTROL_REFUSED;
        }
        Sleep(POLL_MS);
    }
    DWORD code = now.dwWin32ExitCode == ERROR_SERVICE_SPECIFIC_ERROR ? now.dwServiceSpecificExitCode
                                                                     : now.dwWin32ExitCode;
    (void)err_set(e, ERR_PERM,
                  "%s: the service has ended with exit code %lu; the event log says why "
                  "(Application, source Postern)",
                  what, (unsigned long)code);
    return SERVICE_CONTROL_REFUSED;
}

static enum service_control_result control(DWORD code, DWORD access, DWORD pending, DWORD wanted,
                                           const char *what, struct buf *said, struct err *e)
{
    struct scm s;
    SERVICE_STATUS_PROCESS now;
    SERVICE_STATUS answer;
    enum service_control_result result =
        scm_open(&s, SC_MANAGER_CONNECT, access | SERVICE_QUERY_STATUS, e);
    if (result != SERVICE_CONTROL_DONE)
        return result;
    if (!query(s.service, &now)) {
        result = failed(e, "QueryServiceStatusEx Postern");
    } else if (now.dwCurrentState == wanted) {
        buf_addf(said, "%s: it is so already\n", what);
    } else if (ControlService(s.service, code, &answer)) {
        result = wait_for(s.service, pending, wanted, what, e);
    } else {
        DWORD last = GetLastError();
        result = failed(e, "ControlService Postern");
        if (last == ERROR_INVALID_SERVICE_CONTROL || last == ERROR_SERVICE_CANNOT_ACCEPT_CTRL ||
            last == ERROR_SERVICE_NOT_ACTIVE)
            result = SERVICE_CONTROL_REFUSED;
    }
    scm_close(&s);
    return result;
}

enum service_control_result service_control_start(struct buf *said, struct err *e)
{
    struct scm s;
    enum service_control_result result =
        scm_open(&s, SC_MANAGER_CONNECT, SERVICE_START | SERVICE_QUERY_STATUS, e);
    if (result != SERVICE_CONTROL_DONE)
        return result;
    if (StartServiceW(s.service, 0, NULL)) {
        result = wait_for(s.service, SERVICE_START_PENDING, SERVICE_RUNNING, "start", e);
    } else if (GetLastError() == ERROR_SERVICE_ALREADY_RUNNING) {
        buf_add_str(said, "start: it is so already\n");
    } else {
        DWORD code = GetLastError();
        result = failed(e, "StartService Postern");
        if (code == ERROR_SERVICE_REQUEST_TIMEOUT || code == ERROR_PROCESS_ABORTED)
            result = SERVICE_CONTROL_REFUSED;
    }
    scm_close(&s);
    return result;
}

enum service_control_result service_control_stop(struct buf *said, struct err *e)
{
    return control(SERVICE_CONTROL_STOP, SERVICE_STOP, SERVICE_STOP_PENDING, SERVICE_STOPPED,
                   "stop", said, e);
}

enum service_control_result service_control_pause(struct buf *said, struct err *e)
{
    return control(SERVICE_CONTROL_PAUSE, SERVICE_PAUSE_CONTINUE, SERVICE_PAUSE_PENDING,
                   SERVICE_PAUSED, "pause", said, e);
}

enum service_control_result service_control_continue(struct buf *said, struct err *e)
{
    return control(SERVICE_CONTROL_CONTINUE, SERVICE_PAUSE_CONTINUE, SERVICE_CONTINUE_PENDING,
                   SERVICE_RUNNING, "continue", said, e);
}

enum service_control_result service_control_uninstall(struct buf *said, struct err *e)
{
    struct scm s;
    SERVICE_STATUS_PROCESS now;
    enum service_control_result result =
        scm_open(&s, SC_MANAGER_CONNECT, SERVICE_QUERY_STATUS | DELETE, e);
    if (result != SERVICE_CONTROL_DONE)
        return result;
    if (!query(s.service, &now))
        result = failed(e, "QueryServiceStatusEx Postern");
    else if (now.dwCurrentState != SERVICE_STOPPED)
        result = service_control_stop(said, e);
    if (result == SERVICE_CONTROL_DONE && !DeleteService(s.service))
        result = failed(e, "DeleteService Postern");
    scm_close(&s);
    if (result != SERVICE_CONTROL_DONE)
        return result;
    buf_add_str(said, "removed the service Postern\n");
    LSTATUS code = RegDeleteKeyW(HKEY_LOCAL_MACHINE, event_key);
    SetLastError((DWORD)code);
    if (code != ERROR_SUCCESS && code != ERROR_FILE_NOT_FOUND)
        return failed(e, "event source: RegDeleteKey");
    buf_addf(said, "the configuration and the data stay in %s\n", paths_default_data_directory());
    return result;
}

static enum service_state state_of(const SERVICE_STATUS_PROCESS *s)
{
    switch (s->dwCurrentState) {
    case SERVICE_START_PENDING: return SERVICE_STATE_STARTING;
    case SERVICE_RUNNING: return SERVICE_STATE_RUNNING;
    case SERVICE_PAUSE_PENDING: return SERVICE_STATE_PAUSING;
    case SERVICE_PAUSED: return SERVICE_STATE_PAUSED;
    case SERVICE_CONTINUE_PENDING: return SERVICE_STATE_CONTINUING;
    case SERVICE_STOP_PENDING: return SERVICE_STATE_STOPPING;
    default:
        return s->dwWin32ExitCode == NO_ERROR || s->dwWin32ExitCode == ERROR_SERVICE_NEVER_STARTED
                   ? SERVICE_STATE_STOPPED
                   : SERVICE_STATE_FAILED;
    }
}

enum service_control_result service_control_status(struct service_control_status *out,
                                                   struct err *e)
{
    union { /* as large as the manager's answers can be, QueryServiceConfigW */
        QUERY_SERVICE_CONFIGW config;
        BYTE room[8192];
    } answer;
    struct scm s;
    SERVICE_STATUS_PROCESS now;
    DWORD size = 0;
    *out = (struct service_control_status){.state = SERVICE_STATE_ABSENT, .name = "Postern"};
    enum service_control_result result =
        scm_open(&s, SC_MANAGER_CONNECT, SERVICE_QUERY_STATUS | SERVICE_QUERY_CONFIG, e);
    if (result == SERVICE_CONTROL_ABSENT)
        return SERVICE_CONTROL_DONE;
    if (result != SERVICE_CONTROL_DONE)
        return result;
    if (!query(s.service, &now)) {
        result = failed(e, "QueryServiceStatusEx Postern");
    } else if (!QueryServiceConfigW(s.service, &answer.config, sizeof answer, &size)) {
        result = failed(e, "QueryServiceConfig Postern");
    } else {
        out->state = state_of(&now);
        out->process_id = now.dwProcessId;
        out->automatic = answer.config.dwStartType == SERVICE_AUTO_START;
        if (!text_from_wide(answer.config.lpServiceStartName, out->account, sizeof out->account) ||
            !text_from_wide(answer.config.lpBinaryPathName, out->where, sizeof out->where))
            (void)snprintf(out->detail, sizeof out->detail, "a name too long to show");
        if (out->state == SERVICE_STATE_FAILED)
            (void)snprintf(out->detail, sizeof out->detail, "ended with exit code %lu",
                           (unsigned long)(now.dwWin32ExitCode == ERROR_SERVICE_SPECIFIC_ERROR
                                               ? now.dwServiceSpecificExitCode
                                               : now.dwWin32ExitCode));
    }
    scm_close(&s);
    return result;
}
