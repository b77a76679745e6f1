/* Paths of the files kept between runs (XDG base directories), and making folders.
   Rests on the environment. */
#pragma once

/* "FOLDER/lariat/NAME", allocated; makes its folders, readable by their owner only. FOLDER is $variable, or $HOME/otherwise.
   NULL: neither is set. */
char *user_file(const char *variable, const char *otherwise, const char *name);

/* Makes a folder and its parents where they do not exist. A failure shows when a file in it is created. */
void make_folder(const char *path);
