/* Where a user's files lie that the program keeps between runs, as the XDG base directory specification has it, and folders that
   the user names.
   Rests on the environment. */
#ifndef CLI_FOLDERS_H
#define CLI_FOLDERS_H

/* "FOLDER/lariat/NAME", allocated, its folders made (readable by their owner only); NULL where there is no home to put it in.
   The folder is $variable, or $HOME/otherwise. */
char *user_file(const char *variable, const char *otherwise, const char *name);

/* Makes a folder, and those that it lies in, where they are not there. What could not be made shows when a file is. */
void make_folder(const char *path);

#endif
