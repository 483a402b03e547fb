/* scm_control.c - sends the service Postern one control by its number, as sc.exe does, of which
 * Wine has less. Exit code 0: taken; else the system's error, which is printed. */
#include <windows.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    SERVICE_STATUS status;
    DWORD code = argc == 2 ? (DWORD)strtoul(argv[1], NULL, 10) : 0;
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE service =
        manager == NULL ? NULL : OpenServiceW(manager, L"Postern", SERVICE_ALL_ACCESS);
    if (service != NULL && ControlService(service, code, &status))
        return 0;
    (void)printf("error %lu\n", (unsigned long)GetLastError());
    return 1;
}
