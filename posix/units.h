/* units.h - the texts of packaging/systemd, which CMake puts into the program: what `postern
 * service install` writes where no package has put them. */
#ifndef POSTERN_POSIX_UNITS_H
#define POSTERN_POSIX_UNITS_H

extern const char unit_postern_service[];
extern const char unit_postern_socket[];
extern const char unit_postern_sysusers[];

#endif
