# The chat templates of src/text/templates, as text within the library: NAME.jinja is known by the name NAME.
file(GLOB template_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/text/templates/*.jinja)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${template_files})
set(template_arrays "")
set(template_entries "")
foreach(template IN LISTS template_files)
  get_filename_component(name ${template} NAME_WE)
  file(READ ${template} bytes HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  string(APPEND template_arrays "static const char ${name}[] = {${bytes}0};\n")
  string(APPEND template_entries "    {\"${name}\", ${name}},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/templates/named_templates.c @ONLY CONTENT
  "/* Made by cmake/templates.cmake of src/text/templates. */\n#include \"text/chat_template.h\"\n\n@template_arrays@
const named_template named_templates[] = {\n@template_entries@    {0, 0},\n};\n")
target_sources(lariat_text PRIVATE ${CMAKE_BINARY_DIR}/templates/named_templates.c)
