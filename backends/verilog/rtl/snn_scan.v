// Counts through the words of a population in the order of its memory: rows, columns, groups of channels.
module snn_scan #(
    parameter GROUPS = 1, parameter ROWS = 1, parameter COLUMNS = 1,
    parameter GROUP = 1, parameter ROW = 1, parameter COLUMN = 1, parameter WORD = 1
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire advance,
    output reg active,
    output reg [WORD-1:0] word,
    output reg [GROUP-1:0] group,
    output reg [ROW-1:0] row,
    output reg [COLUMN-1:0] column
);
    localparam LAST_GROUP = GROUPS - 1, LAST_ROW = ROWS - 1, LAST_COLUMN = COLUMNS - 1;
    wire last_group = group == LAST_GROUP[GROUP-1:0];
    wire last_column = column == LAST_COLUMN[COLUMN-1:0];
    wire last_row = row == LAST_ROW[ROW-1:0];

    always @(posedge clk) begin
        if (start) begin
            active <= 1'b1;
            word <= 0;
            group <= 0;
            row <= 0;
            column <= 0;
        end else if (active && advance) begin
            word <= word + 1'b1;
            group <= last_group ? 0 : group + 1'b1;
            if (last_group) column <= last_column ? 0 : column + 1'b1;
            if (last_group && last_column) row <= row + 1'b1;
            active <= !(last_group && last_column && last_row);
        end
        if (reset) active <= 1'b0;
    end
endmodule
