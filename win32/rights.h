/* rights.h - who may do what with a folder or a file: the list that ours get, and what a list gives
 * to others. Threads: any.
 * Ours: the system, the administrators, the service NT SERVICE\Postern and the owner, nobody else;
 * nothing is inherited from above, what lies in the folder inherits it. */
#ifndef POSTERN_WIN32_RIGHTS_H
#define POSTERN_WIN32_RIGHTS_H

#include "base/err.h"

#include <wchar.h>

/* The security identifier of NT SERVICE\Postern: S-1-5-80 and the SHA-1 of L"POSTERN" as five
 * numbers, which is how Windows makes it of a service's name (sc showsid Postern). */
#define RIGHTS_SERVICE_SID L"S-1-5-80-1066845840-3302117310-2682128895-2772746410-3198638157"

/* Makes the folder, the last name only, with that list. false: the last error is set. */
bool rights_make_folder(const wchar_t *path);

/* Makes a new file with that list and opens it for writing; others may read it meanwhile.
 * INVALID_HANDLE_VALUE: the last error is set. */
void *rights_make_file(const wchar_t *path);

/* Gives an existing file the list that another one has now; nothing is inherited from then on. */
bool rights_like(const wchar_t *path, const wchar_t *like);

/* Whether what belongs to that account (a PSID) can be ours: the system's, the administrators', the
 * service's, or of whoever runs this. */
bool rights_may_own(void *sid);

/* Whose the folder is that stands there, a link itself and not what it leads to. ProgramData lets
 * every user make folders: one who was there before us would keep the say in it. False with the
 * owner's name in e; true where there is none. */
bool rights_owned_folder(const wchar_t *path, const char *shown, struct err *e);

/* Gives an existing folder that list. */
bool rights_protect_folder(const wchar_t *path, struct err *e);

/* What accounts besides ours may do with the object of that handle (READ_CONTROL is needed);
 * what cannot be found out counts as allowed. */
void rights_of_others(void *handle, bool *read, bool *write);

#endif
