# What the build for Windows needs besides: included by CMakeLists.txt where the target is Windows,
# cross-built by mingw-w64 (preset windows) or natively in MSYS2.

# Windows 10 and Server 2016 are the oldest; printf as C17 has it, also with the old run-time.
add_compile_definitions(_WIN32_WINNT=0x0A00 WIN32_LEAN_AND_MEAN NOMINMAX UNICODE _UNICODE
    __USE_MINGW_ANSI_STDIO=1)

# One program without DLLs besides the system's; address space layout randomised in 64 bits, no
# execution of data. Control flow guard where the compiler knows it (clang does, GCC does not).
set(PKG_CONFIG_ARGN --static)
include(CheckCCompilerFlag)
check_c_compiler_flag(-mguard=cf HAVE_GUARD_CF)
if(HAVE_GUARD_CF)
    add_compile_options(-mguard=cf)
    add_link_options(-mguard=cf)
endif()
add_link_options(-static -fstack-protector-strong -Wl,--dynamicbase,--nxcompat,--high-entropy-va
    -Wl,--no-insert-timestamp)
# Static libraries that need each other, whatever the order in which CMake names them.
string(CONCAT CMAKE_C_LINK_EXECUTABLE
    "<CMAKE_C_COMPILER> <FLAGS> <CMAKE_C_LINK_FLAGS> <LINK_FLAGS> <OBJECTS> -o <TARGET> "
    "-Wl,--start-group <LINK_LIBRARIES> -Wl,--end-group")

set(windows_libraries ws2_32 iphlpapi bcrypt ncrypt crypt32 secur32 advapi32 authz netapi32 shell32
    ole32 user32 gdi32 psapi userenv dbghelp)

get_filename_component(compiler_folder ${CMAKE_C_COMPILER} DIRECTORY)
string(REGEX REPLACE "(gcc|clang|cc)(\\.exe)?$" "windmc" windmc_name ${CMAKE_C_COMPILER})
get_filename_component(windmc_name ${windmc_name} NAME)
find_program(WINDMC NAMES ${windmc_name} windmc HINTS ${compiler_folder} REQUIRED)

# The event log's messages: messages.h for the code, messages.rc for the program.
set(windows_generated ${CMAKE_BINARY_DIR}/generated)
file(MAKE_DIRECTORY ${windows_generated})
add_custom_command(
    OUTPUT ${windows_generated}/messages.h ${windows_generated}/messages.rc
    COMMAND ${WINDMC} -U -h ${windows_generated} -r ${windows_generated}
        ${CMAKE_SOURCE_DIR}/win32/messages.mc
    DEPENDS ${CMAKE_SOURCE_DIR}/win32/messages.mc)
add_custom_target(windows_messages DEPENDS ${windows_generated}/messages.h
    ${windows_generated}/messages.rc)

function(add_windows_messages target)
    target_include_directories(${target} PRIVATE ${windows_generated})
    add_dependencies(${target} windows_messages)
endfunction()

# Version, manifest and messages of the program itself.
enable_language(RC)
function(add_windows_resources target)
    configure_file(${CMAKE_SOURCE_DIR}/win32/postern.rc.in ${windows_generated}/postern.rc @ONLY)
    configure_file(${CMAKE_SOURCE_DIR}/win32/postern.manifest ${windows_generated}/postern.manifest
        COPYONLY)
    target_sources(${target} PRIVATE ${windows_generated}/postern.rc)
    set_source_files_properties(${windows_generated}/postern.rc PROPERTIES
        OBJECT_DEPENDS "${windows_generated}/messages.rc;${windows_generated}/postern.manifest"
        INCLUDE_DIRECTORIES ${windows_generated})
    add_dependencies(${target} windows_messages)
endfunction()
