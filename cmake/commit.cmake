# Writes OUTPUT, a header with the commit of the checkout SOURCE as it stands behind a version: "+8ec5d00", "+8ec5d00.changed" where
# files differ from it, nothing where this is no checkout. Run by every build; the file is touched only where it changes.
cmake_minimum_required(VERSION 3.25)
set(LARIAT_COMMIT "")
if(EXISTS ${SOURCE}/.git)
  execute_process(COMMAND git -C ${SOURCE} describe --always --abbrev=7 --exclude=* --dirty=.changed OUTPUT_VARIABLE commit
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(LARIAT_COMMIT "+${commit}")
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define LARIAT_COMMIT \"@LARIAT_COMMIT@\"\n" @ONLY)
