# How the libraries are found: by pkg-config (Debian, MSYS2, the cross-built prefix), or by their CMake
# packages first, which is what vcpkg installs. Either way the target is PkgConfig::NAME.
find_package(PkgConfig REQUIRED)
option(POSTERN_CMAKE_PACKAGES "look for CMake packages of the libraries first" ${VCPKG_TOOLCHAIN})

# library(NAME MODULE>=VERSION PACKAGE TARGETS...): of the targets the first that the package has;
# A+B are two together. Where there is no such package, pkg-config is asked.
function(library name module package)
    if(POSTERN_CMAKE_PACKAGES AND package)
        string(REGEX REPLACE ".*>=" "" version ${module})
        string(REGEX MATCH "[^:]*$" component ${package}) # PACKAGE or PACKAGE:COMPONENT
        string(REGEX REPLACE ":.*" "" package ${package})
        if(component STREQUAL package)
            find_package(${package} CONFIG QUIET)
        else()
            string(TOUPPER ${package}_USE_STATIC_LIBS static_only)
            set(${static_only} ON)
            find_package(${package} CONFIG QUIET COMPONENTS ${component})
        endif()
        if(NOT ${package}_FOUND AND package STREQUAL "OpenSSL") # CMake's own module
            find_package(OpenSSL QUIET)
        endif()
        if(${package}_FOUND AND (NOT ${package}_VERSION OR ${package}_VERSION VERSION_GREATER_EQUAL version))
            foreach(target ${ARGN})
                string(REPLACE "+" ";" together ${target})
                list(GET together 0 first)
                if(TARGET ${first} AND NOT TARGET PkgConfig::${name})
                    message(STATUS "${name}: CMake package ${package} ${${package}_VERSION}")
                    add_library(PkgConfig::${name} INTERFACE IMPORTED GLOBAL)
                    target_link_libraries(PkgConfig::${name} INTERFACE ${together})
                endif()
            endforeach()
        endif()
    endif()
    if(NOT TARGET PkgConfig::${name})
        pkg_check_modules(${name} REQUIRED IMPORTED_TARGET GLOBAL ${module})
    endif()
endfunction()
